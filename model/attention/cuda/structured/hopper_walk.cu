// The outputs of blocks of queries whose direct tiles are neighbours, by the instructions of
// sm_90a. A thread block walks along the slots of a head, from the last to the first: what the
// keys' kernel, which goes the other way, wrote last is still in L2. One warp has the tiles of
// phi(k) and v copied to a ring of stages, each once for all queries that meet it; another one the
// queries and their sums of states. Three warpgroups take turns at units of 64 queries: one's
// weights are applied while the others' products run.
#include "model/attention/cuda/structured/hopper.cuh"

namespace longwave::attention::cuda {
namespace {

constexpr int kGroups = 3;
constexpr int kThreads = kGroups * 128 + 128;  // the last warpgroup copies
constexpr int kUnits = kBlock / kGroupRows;    // of a block
constexpr int kWarps = 4;                      // of a warpgroup
constexpr int kStages = 4;                     // kMaxSpan, and the one that is filled
constexpr int kKeys = 64;                      // of a product; two to a tile

// The weights are there twice, once moved by one, so that any two neighbours are one aligned load;
// 16 banks apart, so that the threads of both kinds do not meet.
constexpr int kSecondCopy = kTileWeights + 16;

// Groups that are kept in shared memory; most heads have no more.
constexpr int kKnownGroups = 4;

struct Stage {
  bf16 keys[kBlock * kMmaSize];  // phi(k)
  bf16 values[kBlock * kMmaSize];
};

// Half a block of queries.
struct Unit {
  BlockPosition position;
  int slot;
  int first;  // its first row in the block

  __device__ bool empty() const { return first >= position.rows; }
};

struct Shared {
  Stage stages[kStages];
  bf16 ones[16 * kMmaSize];
  bf16 queries[kGroups][kGroupRows * kMmaSize];
  bf16 w_high[kMmaSize * kMmaSize];
  bf16 w_low[kMmaSize * kMmaSize];
  bf16 state[kGroups][kMmaSize * kMmaSize];
  alignas(128) bf16 totals[kGroups][8 * kMmaSize];  // of the state: a row of eight, the others 0
  alignas(16) float weights[kMaxSpan][2 * kSecondCopy];
  hopper::Barrier tile_full[kStages], tile_empty[kStages];
  hopper::Barrier query_full[kGroups], query_empty[kGroups];
  hopper::Barrier state_full[kGroups], state_empty[kGroups];
  Unit units[kGroups];
  StateGroup groups[kKnownGroups];
};
constexpr int kSharedBytes = sizeof(Shared) + 1024;  // room to align

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

using hopper::Barrier;
using hopper::BulkCopy;
using hopper::Descriptor;
using hopper::Hold;
using hopper::SharedAddress;
using hopper::WgmmaCommit;
using hopper::WgmmaFence;
using hopper::WgmmaWait;

// Unit u of the walk is the second (u even) or the first half of slot end - 1 - u / 2, and goes to
// warpgroup u % kGroups. Tile j holds the keys of slot end - 1 + plan.last_offset - j: unit u meets
// the tiles u / 2 to u / 2 + span - 1.
struct Course {
  Walk walk;
  HeadPlan plan;
  int span;  // direct tiles
  int units;
  int tiles;

  __device__ explicit Course(const StructuredArgs& args)
      : walk(args), plan(args.plan.heads[walk.head]) {
    span = plan.direct_end - plan.direct_begin;
    const int slots = walk.end - walk.begin;
    units = kUnits * slots;
    tiles = span > 0 && slots > 0 ? slots + span - 1 : 0;
  }
  __device__ Unit UnitAt(const SequenceView& sequences, int u) const {
    Unit unit;
    unit.slot = walk.end - 1 - u / kUnits;
    unit.position = Locate(sequences, unit.slot);
    unit.first = (kUnits - 1 - u % kUnits) * kGroupRows;
    return unit;
  }
};

__device__ const StateGroup& GroupAt(const StructuredArgs& args, const HeadPlan& plan, int g,
                                     const Shared& shared) {
  const int known = g - plan.group_begin;
  return known < kKnownGroups ? shared.groups[known] : args.plan.groups[g];
}

// By one thread.
__device__ void FeedTiles(const StructuredArgs& args, const TokenMaps& maps, const Course& course,
                          Shared& shared) {
  const int64_t base = static_cast<int64_t>(course.walk.local_head) * args.slots;
  for (int j = 0; j < course.tiles; ++j) {
    const int s = j % kStages;
    if (j >= kStages) shared.tile_empty[s].Wait((j / kStages - 1) & 1);
    Barrier* const full = &shared.tile_full[s];
    const int slot = course.walk.end - 1 + course.plan.last_offset - j;
    BlockPosition position;
    if (slot >= 0 && slot < args.slots) position = Locate(args.base.sequences, slot);
    if (position.rows == 0) {
      full->Arrive();
      continue;
    }
    full->ArriveAndExpect(2 * kTileBytes);
    BulkCopy(shared.stages[s].keys,
             static_cast<const bf16*>(args.features_k) + (base + slot) * kBlock * kMmaSize,
             kTileBytes, full);
    LoadTokens(shared.stages[s].values, &maps.v, course.walk.head, position.first, full);
  }
}

// By one thread.
__device__ void FeedQueries(const StructuredArgs& args, const TokenMaps& maps, const Course& course,
                            Shared& shared) {
  const int64_t base = static_cast<int64_t>(course.walk.local_head) * args.slots;
  uint32_t queries = ~0U, states = ~0U;  // bit g: the parity of warpgroup g's buffer
  for (int u = 0; u < course.units; ++u) {
    const int group = u % kGroups;
    shared.query_empty[group].Wait(queries >> group & 1);
    queries ^= 1U << group;
    const Unit unit = course.UnitAt(args.base.sequences, u);
    shared.units[group] = unit;
    Barrier* const full = &shared.query_full[group];
    if (unit.empty()) {
      full->Arrive();
      continue;
    }
    full->ArriveAndExpect(kGroupRows * kRowBytes);
    LoadTokens(shared.queries[group], &maps.q, course.walk.head, unit.position.first + unit.first,
               full);
    WaitForPredecessors();
    for (int g = course.plan.group_begin; g < course.plan.group_end; ++g) {
      const StateGroup& state_group = GroupAt(args, course.plan, g, shared);
      if (!Reaches(course.plan, state_group, unit.position)) continue;
      shared.state_empty[group].Wait(states >> group & 1);
      states ^= 1U << group;
      Barrier* const state_full = &shared.state_full[group];
      state_full->ArriveAndExpect(kMmaState * 2);
      const bf16* const from =
          static_cast<const bf16*>(args.sums) +
          ((base + unit.slot) * args.plan.max_groups + g - course.plan.group_begin) * kMmaState;
      BulkCopy(shared.state[group], from, kStateBytes, state_full);
#pragma unroll 1
      for (int piece = 0; piece < kPieces; ++piece) {
        BulkCopy(shared.totals[group] + piece * 64, from + kMmaSize * kMmaSize + piece * 8, 16,
                 state_full);
      }
    }
  }
}

// Products with v, and with ones in the last four: of rows lane / 4 and lane / 4 + 8, twice.
using Sums = float[kRegisters + 4];

// Adds factor[row] phi(q) state.
__device__ void AddFar(uint64_t state, uint64_t totals, const float (&factor)[2],
                       const Fragments& phi, Sums& sums) {
  float product[kRegisters], total[4] = {};
  Hold(total);
  WgmmaFence();
#pragma unroll
  for (int k = 0; k < kMmaSize / 16; ++k) {
    Multiply<true>(product, phi[k], state + k * (16 * kRowBytes / 16), k > 0);
  }
#pragma unroll
  for (int k = 0; k < kMmaSize / 16; ++k) MultiplyColumn(total, phi[k], totals + k * (256 / 16));
  WgmmaCommit();
  WgmmaWait<0>();
  Hold(product);
  Hold(total);
#pragma unroll
  for (int i = 0; i < kRegisters; ++i) sums[i] += factor[i / 2 % 2] * product[i];
#pragma unroll
  for (int i = 0; i < 4; ++i) sums[kRegisters + i] += factor[i / 2] * total[i];
}

// Begins the products of phi(q) and the keys of one part of a tile.
__device__ inline void Score(const Stage& stage, int part, const Fragments& phi,
                             float (&scores)[kRegisters]) {
  const uint64_t keys = Descriptor(SharedAddress(stage.keys)) + part * (kKeys * kRowBytes / 16);
  WgmmaFence();
#pragma unroll
  for (int k = 0; k < kMmaSize / 16; ++k) Multiply<false>(scores, phi[k], keys + 2 * k, k > 0);
  WgmmaCommit();
}

// Applies the weights of a part and begins its products with v. weights: of this thread's row and
// first column.
__device__ inline void Weigh(const float* weights, uint64_t values, float (&scores)[kRegisters],
                             uint32_t (&weighted)[kKeys / 16][4], Sums& sums) {
  Hold(scores);
  float2 below = *reinterpret_cast<const float2*>(weights - 8);
#pragma unroll
  for (int g = 0; g < kKeys / 8; ++g) {
    const float2 here = *reinterpret_cast<const float2*>(weights + 8 * g);
    const float a = scores[4 * g] * here.x, b = scores[4 * g + 1] * here.y;
    // Eight rows down is eight columns to the left.
    const float c = scores[4 * g + 2] * below.x, d = scores[4 * g + 3] * below.y;
    below = here;
    uint32_t(&pair)[4] = weighted[g / 2];
    pair[g % 2 * 2] = PackBf16(a, b);
    pair[g % 2 * 2 + 1] = PackBf16(c, d);
  }
  WgmmaFence();
  // The sum of what v is really weighted by, rounding included: it cancels in the quotient.
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) MultiplyWide(sums, weighted[k], values + k * kWideStep);
  WgmmaCommit();
}

// Adds the direct part of one tile, or of the first half of it.
__device__ void AddTile(const Stage& stage, const bf16* ones, const float* weights, int parts,
                        const Fragments& phi, Sums& sums) {
  const uint64_t values = WideDescriptor(SharedAddress(stage.values), SharedAddress(ones));
  Hold(sums);
#pragma unroll 1
  for (int part = 0; part < parts; ++part) {
    float scores[kRegisters];
    uint32_t weighted[kKeys / 16][4];
    Score(stage, part, phi, scores);
    WgmmaWait<0>();
    Weigh(weights + part * kKeys, values + part * (kKeys / 16) * kWideStep, scores, weighted, sums);
  }
  WgmmaWait<0>();
  Hold(sums);
}

__device__ void Compute(const StructuredArgs& args, const Course& course, bool too_long,
                        Shared& shared) {
  const int group = __shfl_sync(~0U, static_cast<int>(threadIdx.x) / 128, 0);
  const int warp = __shfl_sync(~0U, static_cast<int>(threadIdx.x) % 128 / 32, 0);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const uint64_t high = Descriptor(SharedAddress(shared.w_high));
  const uint64_t low = Descriptor(SharedAddress(shared.w_low));
  const auto arrive = [lane](Barrier& barrier) {
    __syncwarp();
    if (lane == 0) barrier.Arrive();
  };
  int query_parity = 0, state_parity = 0;
  int released = 0;  // tiles that this warpgroup needs no more
  for (int u = group; u < course.units; u += kGroups) {
    shared.query_full[group].Wait(query_parity);
    query_parity ^= 1;
    const Unit unit = shared.units[group];
    const bool empty = unit.empty();
    // This thread's rows are `row` and `row` + 8.
    const int row = unit.first + warp * 16 + lane / 4;
    Sums sums;
    Fragments phi;
    if (empty) {
      arrive(shared.query_empty[group]);
    } else {
      QueryFeatures64(args.base, shared.queries[group], warp * 16, high, low, phi,
                      [&] { arrive(shared.query_empty[group]); });
#pragma unroll
      for (float& sum : sums) sum = 0;
      for (int g = course.plan.group_begin; g < course.plan.group_end; ++g) {
        const StateGroup& state_group = GroupAt(args, course.plan, g, shared);
        if (!Reaches(course.plan, state_group, unit.position)) continue;
        float factor[2] = {1, 1};
        if (state_group.weighted) {
          const float* const factors = args.plan.query_factors + g * kBlock + row;
          factor[0] = factors[0];
          factor[1] = factors[8];
        }
        shared.state_full[group].Wait(state_parity);
        state_parity ^= 1;
        AddFar(Descriptor(SharedAddress(shared.state[group])),
               ColumnDescriptor(shared.totals[group]), factor, phi, sums);
        arrive(shared.state_empty[group]);
      }
    }
    // The weight of (row, column) is at column - row + kBlock - 1.
    const int corner = 2 * (lane % 4) - row + kBlock - 1;
    const int weight = corner % 2 == 0 ? corner : kSecondCopy + corner - 1;
    const int begin = u / kUnits, next_begin = (u + kGroups) / kUnits;
    const int end = min(max(begin + course.span, next_begin), course.tiles);
    for (int j = released; j < end; ++j) {
      const int s = j % kStages;
      shared.tile_full[s].Wait(j / kStages & 1);
      const int after = j - begin;
      const int block = unit.position.index + course.plan.last_offset - after;
      if (!empty && after >= 0 && after < course.span && block >= 0 &&
          block < unit.position.blocks) {
        const int keys = min(kBlock, unit.position.length - block * kBlock);
        if (keys < kBlock) {
          // What lies beyond the sequence is another's. Every warpgroup may write these zeros.
          for (int c = keys * kPieces + static_cast<int>(threadIdx.x) % 128; c < kBlock * kPieces;
               c += 128) {
            reinterpret_cast<uint4*>(shared.stages[s].values)[c] = {};
          }
          FenceShared();
          SyncGroup(group);
        }
        AddTile(shared.stages[s], shared.ones, shared.weights[course.span - 1 - after] + weight,
                keys > kKeys ? 2 : 1, phi, sums);
      }
      if (j < next_begin) {
        arrive(shared.tile_empty[s]);
        released = j + 1;
      }
    }
    if (!empty) {
      // Of the columns of sums only the first one is whole.
      const float denominators[] = {__shfl_sync(~0U, sums[kRegisters], lane / 4 * 4),
                                    __shfl_sync(~0U, sums[kRegisters + 2], lane / 4 * 4)};
      WriteRows(args, unit.position, course.walk.head, too_long, row, sums, denominators);
    }
  }
}

__device__ void Solve(const StructuredArgs& args, const TokenMaps& maps, Shared& shared) {
  const Course course(args);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread == 0) {
    for (int s = 0; s < kStages; ++s) {
      shared.tile_full[s].Init(1);
      shared.tile_empty[s].Init(kGroups * kWarps);
    }
    for (int group = 0; group < kGroups; ++group) {
      shared.query_full[group].Init(1);
      shared.query_empty[group].Init(kWarps);
      shared.state_full[group].Init(1);
      shared.state_empty[group].Init(kWarps);
    }
    hopper::FenceBarrierInit();
  }
  for (int c = thread; c < kGroups * 8 * kMmaSize; c += kThreads) {
    shared.totals[0][c] = __float2bfloat16(0);
  }
  if (thread < min(course.plan.group_end - course.plan.group_begin, kKnownGroups)) {
    shared.groups[thread] = args.plan.groups[course.plan.group_begin + thread];
  }
  FenceShared();
  __syncthreads();
  if (thread >= kGroups * 128) {
    hopper::ShrinkRegisters<32>();
    if (thread == kGroups * 128) {
      WaitForPredecessors();
      FeedTiles(args, maps, course, shared);
    } else if (thread == kGroups * 128 + 32) {
      FeedQueries(args, maps, course, shared);
    }
  } else {
    hopper::GrowRegisters<160>();
    constexpr int kHere = kGroups * 128;
    for (int c = thread; c < 16 * kMmaSize; c += kHere) shared.ones[c] = __float2bfloat16(1);
    for (int c = thread; c < course.span * kTileWeights; c += kHere) {
      const int tile = c / kTileWeights, d = c % kTileWeights;
      const float weight =
          args.plan.weights[static_cast<int64_t>(course.plan.direct_begin) * kTileWeights + c];
      shared.weights[tile][d] = weight;
      if (d > 0) shared.weights[tile][kSecondCopy + d - 1] = weight;
    }
    const bool mine = LoadProjection<kHere>(args.base, course.walk.head, args.max_norm,
                                            shared.w_high, shared.w_low);
    FenceShared();
    const bool too_long = hopper::AnyOf(mine, kGroups + 1, kHere);
    Compute(args, course, too_long, shared);
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

__global__ void __launch_bounds__(kThreads, 1)
    HopperWalk(const __grid_constant__ StructuredArgs args,
               const __grid_constant__ TokenMaps maps) {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  extern __shared__ __align__(16) unsigned char storage[];
  LaunchDependents();
  Solve(
      args, maps,
      *reinterpret_cast<Shared*>(storage + (1024 - hopper::SharedAddress(storage) % 1024) % 1024));
#endif
}

}  // namespace

cudaError_t LaunchHopperWalk(const StructuredArgs& args, cudaStream_t stream) {
  int multiprocessors = 0;
  cudaError_t error = PrepareHopper(HopperWalk, kSharedBytes, &multiprocessors);
  if (error != cudaSuccess) return error;
  const AttentionArgs& base = args.base;
  TokenMaps maps{};
  error = MapTokens(base.q, args.heads, base.sequences.tokens, base.dim, kGroupRows, &maps.q);
  if (error != cudaSuccess) return error;
  error = MapTokens(base.v, args.heads, base.sequences.tokens, base.value_dim, kBlock, &maps.v);
  if (error != cudaSuccess) return error;
  const int heads = base.head_end - base.head_begin;
  const unsigned grid = heads * PartsOf(heads, args.slots, multiprocessors, 2);
  return LaunchEarly(HopperWalk, grid, kThreads, kSharedBytes, stream, args, maps);
}

}  // namespace longwave::attention::cuda
