// The outputs of blocks of queries with any direct tiles by the instructions of sm_90a: what
// mma_queries.cu computes, with wgmma and its operands straight from shared memory. A warpgroup
// holds 64 rows in registers. A thread block stays and takes one block of queries after the other;
// while it computes, the next tiles, queries and states are on their way. Two of them share a
// multiprocessor, so that one's weights hide behind the other's products.
#include <algorithm>

#include "model/attention/cuda/structured/hopper.cuh"

namespace longwave::attention::cuda {
namespace {

constexpr int kThreads = kBlock / kGroupRows * 128;
constexpr int kKeys = 64;  // of a product; two to a tile
constexpr int kStages = 2;

// The weights are there twice, once moved by one, so that any two neighbours are one aligned load;
// 16 banks apart, so that the threads of both kinds do not meet.
constexpr int kSecondCopy = kTileWeights + 16;

struct Stage {
  bf16 keys[kBlock * kMmaSize];  // phi(k)
  bf16 values[kBlock * kMmaSize];
};

// A block of queries and its direct tiles; position.rows 0: there is none.
struct Item {
  BlockPosition position;
  DirectRange tiles;
  int slot;
};

// What a thread block knows of its head, so that nobody waits for device memory between items. Of
// direct tiles and groups the first ones; most tables have no more.
constexpr int kKnownTiles = 32;
constexpr int kKnownGroups = 4;
struct Head {
  HeadPlan plan;
  int local;  // counted from the launch's first
  int index;
  int offsets[kKnownTiles];
  StateGroup groups[kKnownGroups];
};

// The item at work, the two that loads may reach and one being prepared.
constexpr int kItems = 4;

struct Shared {
  Stage stages[kStages];
  bf16 queries[kBlock * kMmaSize];
  bf16 w_high[kMmaSize * kMmaSize];
  bf16 w_low[kMmaSize * kMmaSize];
  bf16 state[kMmaState];
  alignas(16) float weights[kStages][2 * kSecondCopy];
  int parts[kStages];  // halves of the tile that hold keys
  Head head;
  Item items[kItems];
  int next_slot;  // of the queue of items
  int last_slot;
};
constexpr int kSharedBytes = sizeof(Shared) + 1024;  // room to align

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

using hopper::Descriptor;
using hopper::Hold;
using hopper::SharedAddress;
using hopper::WgmmaCommit;
using hopper::WgmmaFence;
using hopper::WgmmaWait;

__device__ inline void CopyAsync4(void* to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(
                   static_cast<uint32_t>(__cvta_generic_to_shared(to))),
               "l"(from));
}

__device__ int OffsetOf(const StructuredArgs& args, const Head& head, int tile) {
  const int known = tile - head.plan.direct_begin;
  return known < kKnownTiles ? head.offsets[known] : args.plan.offsets[tile];
}

// Begins to copy a direct tile of an item to stage s.
__device__ void LoadTile(const StructuredArgs& args, const Item& item, int tile, int s,
                         Shared& shared) {
  const AttentionArgs& base = args.base;
  const int offset = OffsetOf(args, shared.head, tile);
  const int keys = min(kBlock, item.position.length - (item.position.index + offset) * kBlock);
  const int64_t place = static_cast<int64_t>(shared.head.local) * args.slots + item.slot + offset;
  CopyBytes<kThreads>(shared.stages[s].keys,
                      static_cast<const bf16*>(args.features_k) + place * kBlock * kMmaSize,
                      kTileBytes);
  CopyTokens<kBlock, kThreads>(shared.stages[s].values, base.v, shared.head.index,
                               item.position.first + offset * kBlock, keys, base.value_dim);
  const float* const from = args.plan.weights + static_cast<int64_t>(tile) * kTileWeights;
  static_assert(kThreads == kTileWeights);
  float* const weights = shared.weights[s];
  CopyAsync4(weights + threadIdx.x, from + threadIdx.x);
  if (threadIdx.x > 0) CopyAsync4(weights + kSecondCopy + threadIdx.x - 1, from + threadIdx.x);
  if (threadIdx.x == 0) shared.parts[s] = keys > kKeys ? 2 : 1;
}

__device__ void LoadState(const StructuredArgs& args, const Item& item, int group, Shared& shared) {
  const int64_t place = static_cast<int64_t>(shared.head.local) * args.slots + item.slot;
  CopyBytes<kThreads>(
      shared.state,
      static_cast<const bf16*>(args.sums) +
          (place * args.plan.max_groups + group - shared.head.plan.group_begin) * kMmaState,
      sizeof(shared.state));
}

// Begins to copy the queries and the first state of an item.
__device__ void LoadQueries(const StructuredArgs& args, const Item& item, Shared& shared) {
  CopyTokens<kBlock, kThreads>(shared.queries, args.base.q, shared.head.index, item.position.first,
                               item.position.rows, args.base.dim);
  const HeadPlan& plan = shared.head.plan;
  if (plan.group_begin < plan.group_end) LoadState(args, item, plan.group_begin, shared);
}

// phi of the warpgroup's queries, each row divided by its largest, as left operands.
__device__ void QueryFeatures(const AttentionArgs& args, const Shared& shared, Fragments& phi) {
  const int first = static_cast<int>(threadIdx.x) / 32 * 16;
  QueryFeatures64(args, shared.queries, first, Descriptor(SharedAddress(shared.w_high)),
                  Descriptor(SharedAddress(shared.w_low)), phi, [] {});
}

// Adds factor[row] phi(q) state; denominators as the parts that the lane has seen.
__device__ void AddFar(const bf16* state, const float (&factor)[2], const Fragments& phi,
                       float (&sums)[kRegisters], float (&denominators)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const uint64_t columns = Descriptor(SharedAddress(state));
  float product[kRegisters];
  WgmmaFence();
#pragma unroll
  for (int k = 0; k < kMmaSize / 16; ++k) {
    Multiply<true>(product, phi[k], columns + k * (16 * kRowBytes / 16), k > 0);
  }
  WgmmaCommit();
  float totals[2] = {0, 0};
#pragma unroll
  for (int k = 0; k < kMmaSize / 16; ++k) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const float2 total = UnpackBf16(*reinterpret_cast<const uint32_t*>(
          state + kMmaSize * kMmaSize + k * 16 + part * 8 + lane % 4 * 2));
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float2 pair = UnpackBf16(phi[k][2 * part + half]);
        totals[half] += pair.x * total.x + pair.y * total.y;
      }
    }
  }
  denominators[0] += factor[0] * totals[0];
  denominators[1] += factor[1] * totals[1];
  WgmmaWait<0>();
  Hold(product);
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) sums[i] += factor[i / 2 % 2] * product[i];
}

// Adds the direct part of one tile, or of the first half of it. weights: of this thread's row and
// its first column.
__device__ void AddTile(const Stage& stage, const float* weights, int parts, const Fragments& phi,
                        float (&sums)[kRegisters], float (&denominators)[2]) {
  const uint64_t keys = Descriptor(SharedAddress(stage.keys));
  const uint64_t values = Descriptor(SharedAddress(stage.values));
  float2 below = *reinterpret_cast<const float2*>(weights - 8);
#pragma unroll 1
  for (int part = 0; part < parts; ++part) {
    float scores[kRegisters];
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < kMmaSize / 16; ++k) {
      Multiply<false>(scores, phi[k], keys + part * (kKeys * kRowBytes / 16) + 2 * k, k > 0);
    }
    WgmmaCommit();
    WgmmaWait<0>();
    Hold(scores);
    Hold(sums);
    uint32_t weighted[kKeys / 16][4];
#pragma unroll
    for (int g = 0; g < kKeys / 8; ++g) {
      const float2 here = *reinterpret_cast<const float2*>(weights + part * kKeys + 8 * g);
      const float a = scores[4 * g] * here.x, b = scores[4 * g + 1] * here.y;
      // Eight rows down is eight columns to the left.
      const float c = scores[4 * g + 2] * below.x, d = scores[4 * g + 3] * below.y;
      below = here;
      uint32_t(&pair)[4] = weighted[g / 2];
      pair[g % 2 * 2] = PackBf16(a, b);
      pair[g % 2 * 2 + 1] = PackBf16(c, d);
      // The sum of what v is weighted by, rounding included: it cancels in the quotient.
      denominators[0] += SumBf16(pair[g % 2 * 2]);
      denominators[1] += SumBf16(pair[g % 2 * 2 + 1]);
    }
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
      Multiply<true>(sums, weighted[k], values + (part * kKeys + k * 16) * (kRowBytes / 16), true);
    }
    WgmmaCommit();
  }
  WgmmaWait<0>();
  Hold(sums);
}

// Adds the far field of an item. Leaves the state's memory in use.
__device__ void AddFarField(const StructuredArgs& args, const Item& item, int row,
                            const Fragments& phi, Shared& shared, float (&sums)[kRegisters],
                            float (&denominators)[2]) {
  const HeadPlan& plan = shared.head.plan;
  for (int g = plan.group_begin; g < plan.group_end; ++g) {
    const int known = g - plan.group_begin;
    const StateGroup& group =
        known < kKnownGroups ? shared.head.groups[known] : args.plan.groups[g];
    if (!Reaches(plan, group, item.position)) continue;
    if (known > 0) {
      __syncthreads();
      LoadState(args, item, g, shared);
      CommitCopies();
      WaitForCopies<0>();
      FenceShared();
      __syncthreads();
    }
    float factor[2] = {1, 1};
    if (group.weighted) {
      const float* const factors = args.plan.query_factors + g * kBlock + row;
      factor[0] = factors[0];
      factor[1] = factors[8];
    }
    AddFar(shared.state, factor, phi, sums, denominators);
  }
}

// Learns what there is to know of the thread block's head, and opens its queue: a range of the
// slots. The heads of a token lie side by side in memory, so the blocks of all heads go over the
// slots together. By all threads; a barrier must follow.
__device__ void Open(const StructuredArgs& args, Shared& shared) {
  const int heads = args.base.head_end - args.base.head_begin;
  const int local = static_cast<int>(blockIdx.x) % heads;
  const int index = args.base.head_begin + local;
  const HeadPlan plan = args.plan.heads[index];
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < kKnownTiles && plan.direct_begin + thread < plan.direct_end) {
    shared.head.offsets[thread] = args.plan.offsets[plan.direct_begin + thread];
  }
  if (thread < kKnownGroups && plan.group_begin + thread < plan.group_end) {
    shared.head.groups[thread] = args.plan.groups[plan.group_begin + thread];
  }
  if (thread != 0) return;
  shared.head.plan = plan;
  shared.head.local = local;
  shared.head.index = index;
  const int part = static_cast<int>(blockIdx.x) / heads;
  const int parts = static_cast<int>(gridDim.x) / heads;
  shared.next_slot = static_cast<int>(static_cast<int64_t>(args.slots) * part / parts);
  shared.last_slot = static_cast<int>(static_cast<int64_t>(args.slots) * (part + 1) / parts);
}

// Takes the next item that is not empty; `before` is the one before it, if there is one. By one
// thread. Not inlined: it would cost everyone registers.
__device__ __noinline__ void TakeItem(const StructuredArgs& args, Shared& shared,
                                      const Item* before, Item& item) {
  item.position = {};
  while (shared.next_slot < shared.last_slot && item.position.rows == 0) {
    item.slot = shared.next_slot++;
    if (before != nullptr && before->position.rows > 0 && item.slot == before->slot + 1 &&
        before->position.index + 1 < before->position.blocks) {
      item.position = before->position;
      item.position.first += kBlock;
      ++item.position.index;
      item.position.rows = min(kBlock, item.position.length - item.position.index * kBlock);
    } else {
      item.position = Locate(args.base.sequences, item.slot);
    }
  }
  if (item.position.rows == 0) return;
  const BlockPosition& position = item.position;
  item.tiles = {shared.head.plan.direct_begin, shared.head.plan.direct_end};
  while (item.tiles.begin < item.tiles.end &&
         OffsetOf(args, shared.head, item.tiles.begin) < -position.index) {
    ++item.tiles.begin;
  }
  while (item.tiles.end > item.tiles.begin &&
         OffsetOf(args, shared.head, item.tiles.end - 1) >= position.blocks - position.index) {
    --item.tiles.end;
  }
}

__device__ void Solve(const StructuredArgs& args, Shared& shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  // This thread's rows are `row` and `row` + 8.
  const int row = static_cast<int>(threadIdx.x) / 32 * 16 + lane / 4;
  // The weight of (row, column) is at column - row + kBlock - 1.
  const int corner = 2 * (lane % 4) - row + kBlock - 1;
  const int weight = corner % 2 == 0 ? corner : kSecondCopy + corner - 1;

  Open(args, shared);
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int i = 0; i < kItems - 1; ++i) {
      TakeItem(args, shared, i > 0 ? &shared.items[i - 1] : nullptr, shared.items[i]);
    }
  }
  __syncthreads();
  if (shared.items[0].position.rows == 0) return;

  // The tile that is loaded next, two ahead of the one at work.
  int load_item = 0, load_tile = shared.items[0].tiles.begin;
  const auto load_next = [&](int s) {
    const Item& item = shared.items[load_item];
    if (item.position.rows > 0) {
      LoadTile(args, item, load_tile, s, shared);
      if (++load_tile == item.tiles.end) {
        load_item = (load_item + 1) % kItems;
        load_tile = shared.items[load_item].tiles.begin;
      }
    }
    CommitCopies();
  };
  LoadQueries(args, shared.items[0], shared);
  CommitCopies();
  load_next(0);
  load_next(1);

  const bool too_long = __syncthreads_or(LoadProjection<kThreads>(
      args.base, shared.head.index, args.max_norm, shared.w_high, shared.w_low));
  int stage = 0;
  for (int i = 0; shared.items[i].position.rows > 0; i = (i + 1) % kItems) {
    const Item& item = shared.items[i];
    WaitForCopies<1>();
    FenceShared();
    __syncthreads();
    // Nobody is with the item before this one any more.
    if (threadIdx.x == 0) {
      TakeItem(args, shared, &shared.items[(i + kItems - 2) % kItems],
               shared.items[(i + kItems - 1) % kItems]);
    }
    Fragments phi;
    QueryFeatures(args.base, shared, phi);
    float sums[kRegisters], denominators[2] = {0, 0};
#pragma unroll
    for (float& sum : sums) sum = 0;
    AddFarField(args, item, row, phi, shared, sums, denominators);
    __syncthreads();
    const Item& following = shared.items[(i + 1) % kItems];
    if (following.position.rows > 0) LoadQueries(args, following, shared);
    CommitCopies();

    for (int tile = item.tiles.begin; tile < item.tiles.end; ++tile) {
      // Younger than this tile are the next one and, for the first two, the queries.
      if (tile - item.tiles.begin < 2) {
        WaitForCopies<2>();
      } else {
        WaitForCopies<1>();
      }
      FenceShared();
      __syncthreads();
      AddTile(shared.stages[stage], shared.weights[stage] + weight, shared.parts[stage], phi, sums,
              denominators);
      __syncthreads();
      load_next(stage);
      stage ^= 1;
    }
#pragma unroll
    for (float& denominator : denominators) {
      denominator += __shfl_xor_sync(~0U, denominator, 1);
      denominator += __shfl_xor_sync(~0U, denominator, 2);
    }
    WriteRows(args, item.position, shared.head.index, too_long, row, sums, denominators);
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

__global__ void __launch_bounds__(kThreads, 2)
    HopperQueries(const __grid_constant__ StructuredArgs args) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(16) unsigned char storage[];
  Solve(args, *reinterpret_cast<Shared*>(storage +
                                         (1024 - hopper::SharedAddress(storage) % 1024) % 1024));
#endif
}

}  // namespace

cudaError_t LaunchHopperQueries(const StructuredArgs& args, cudaStream_t stream) {
  int multiprocessors = 0;
  const cudaError_t error = PrepareHopper(HopperQueries, kSharedBytes, &multiprocessors);
  if (error != cudaSuccess) return error;
  const int heads = args.base.head_end - args.base.head_begin;
  const int parts = std::clamp(2 * multiprocessors / heads, 1, args.slots);
  const unsigned grid = static_cast<unsigned>(heads * parts);
  HopperQueries<<<grid, kThreads, kSharedBytes, stream>>>(args);
  return cudaGetLastError();
}

}  // namespace longwave::attention::cuda
