// What mma_keys.cu computes, by the instructions of sm_90a. A thread block walks along the slots of
// a head: one warp has the tiles of k and v copied to a ring of stages, and each of four
// warpgroups takes every fourth block: phi(k) by wgmma, over k's own tile, from where it is copied
// out; then the states, phi(k) transposed as it is read.
#include "model/attention/cuda/structured/hopper.cuh"

namespace longwave::attention::cuda {
namespace {

constexpr int kGroups = 4;
constexpr int kThreads = kGroups * 128 + 128;  // the last warpgroup copies
constexpr int kStages = 6;

struct Stage {
  bf16 keys[kBlock * kMmaSize];  // then phi(k)
  bf16 values[kBlock * kMmaSize];
};

struct Shared {
  Stage stages[kStages];
  bf16 w_high[kMmaSize * kMmaSize];
  bf16 w_low[kMmaSize * kMmaSize];
  alignas(128) bf16 ones[8 * 16];
  hopper::Barrier full[kStages];
  hopper::Barrier empty[kStages];
  struct {
    int block;  // -1 before the first
    int slot;   // -1: there is no more
    int rows;
  } blocks[kStages];
};
constexpr int kSharedBytes = sizeof(Shared) + 1024;  // room to align

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// By one thread.
__device__ void Load(const StructuredArgs& args, const TokenMaps& maps, const Walk& walk,
                     Shared& shared) {
  int block = 0;
  const auto take = [&] {
    const int s = block % kStages;
    if (block >= kStages) shared.empty[s].Wait((block / kStages - 1) & 1);
    ++block;
    return s;
  };
  for (int slot = walk.begin; slot < walk.end; ++slot) {
    const BlockPosition position = Locate(args.base.sequences, slot);
    if (position.rows == 0) continue;
    const int s = take();
    shared.blocks[s] = {block - 1, slot, position.rows};
    shared.full[s].ArriveAndExpect(2 * kTileBytes);
    LoadTokens(shared.stages[s].keys, &maps.k, walk.head, position.first, &shared.full[s]);
    LoadTokens(shared.stages[s].values, &maps.v, walk.head, position.first, &shared.full[s]);
  }
  for (int group = 0; group < kGroups; ++group) {
    const int s = take();
    shared.blocks[s] = {block - 1, -1, 0};
    shared.full[s].Arrive();
  }
}

using KeyFeatures = uint32_t[kMmaSize / 8][2];  // phi of rows lane / 4 and lane / 4 + 8

// phi of 64 rows from `half` * 64 on, in place of the keys.
__device__ void Features(const AttentionArgs& args, int rows, int half, uint64_t high, uint64_t low,
                         bf16* tile, KeyFeatures& phi) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int first = half * kGroupRows + static_cast<int>(threadIdx.x) % 128 / 32 * 16;
  float log[kRegisters], square[2];
  LogFeatures64(tile, first, high, low, log, square, [] {});
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float factor = FastTokenFactor(args, square[r]);
    const float half_square = 0.5F * square[r] * factor * factor * kLog2E;
    const float scale = factor * kLog2E;
#pragma unroll
    for (int f = 0; f < kPieces; ++f) {
      phi[f][r] = PackBf16(Exp2(fmaf(log[4 * f + 2 * r], scale, -half_square)),
                           Exp2(fmaf(log[4 * f + 2 * r + 1], scale, -half_square)));
    }
    if (first + r * 8 + lane / 4 >= rows) {
#pragma unroll
      for (int f = 0; f < kPieces; ++f) phi[f][r] = 0;
    }
  }
  if (args.features < kMmaSize) {
#pragma unroll
    for (int f = 0; f < kPieces; ++f) {
      const int left = args.features - f * 8 - lane % 4 * 2;  // features from this one on
      const uint32_t mask = left >= 2 ? ~0U : left == 1 ? 0xffffU : 0;
      phi[f][0] &= mask;
      phi[f][1] &= mask;
    }
  }
}

// The rows of a warp that begin at `first`.
__device__ void WriteFeatures(const KeyFeatures& phi, int first, bf16* tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int f = 0; f < kPieces; f += 2) {
    StoreTiles(tile + PieceOf(first + lane % 16, f + lane / 16), phi[f][0], phi[f][1],
               phi[f + 1][0], phi[f + 1][1]);
  }
}

// phi(k)^T [v | 1] of a stage, to device memory.
__device__ void State(const Stage& stage, const bf16* ones, bf16* state) {
  const uint64_t keys = hopper::Descriptor(hopper::SharedAddress(stage.keys));
  const uint64_t values = hopper::Descriptor(hopper::SharedAddress(stage.values));
  const uint64_t column = ColumnDescriptor(ones);
  float sums[kRegisters], totals[4] = {};
  hopper::WgmmaFence();
#pragma unroll
  for (int k = 0; k < kBlock / 16; ++k) {
    constexpr int kStep = 16 * kRowBytes / 16;
    MultiplyTransposed(sums, keys + k * kStep, values + k * kStep, k > 0);
    MultiplyColumnTransposed(totals, keys + k * kStep, column);
  }
  hopper::WgmmaCommit();
  hopper::WgmmaWait<0>();
  hopper::Hold(sums);
  hopper::Hold(totals);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bool odd = lane % 2 == 1;
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int f = static_cast<int>(threadIdx.x) % 128 / 32 * 16 + half * 8 + lane / 4;
#pragma unroll
    for (int e = 0; e < kPieces; e += 2) {
      // Neighbouring lanes swap, so that each writes 8 bytes and four of them a sector.
      const uint32_t first = PackBf16(sums[4 * e + 2 * half], sums[4 * e + 2 * half + 1]);
      const uint32_t second = PackBf16(sums[4 * e + 4 + 2 * half], sums[4 * e + 5 + 2 * half]);
      const uint32_t other = __shfl_xor_sync(~0U, odd ? first : second, 1);
      *reinterpret_cast<uint2*>(state + PieceOf(f, e + odd) + lane % 4 / 2 * 4) =
          odd ? make_uint2(other, second) : make_uint2(first, other);
    }
    if (lane % 4 == 0) state[kMmaSize * kMmaSize + f] = __float2bfloat16(totals[2 * half]);
  }
}

// phi times the factors of a group.
__device__ void Weigh(const float* factors, int first, const KeyFeatures& phi,
                      KeyFeatures& weighted) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const float factor = factors[first + r * 8 + lane / 4];
#pragma unroll
    for (int f = 0; f < kPieces; ++f) {
      const float2 pair = UnpackBf16(phi[f][r]);
      weighted[f][r] = PackBf16(pair.x * factor, pair.y * factor);
    }
  }
}

__device__ void Compute(const StructuredArgs& args, const Walk& walk, Shared& shared) {
  const int group = __shfl_sync(~0U, static_cast<int>(threadIdx.x) / 128, 0);
  const int warp = __shfl_sync(~0U, static_cast<int>(threadIdx.x) % 128 / 32, 0);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const bool leader = threadIdx.x % 128 == 0;
  const HeadPlan plan = args.plan.heads[walk.head];
  const uint64_t high = hopper::Descriptor(hopper::SharedAddress(shared.w_high));
  const uint64_t low = hopper::Descriptor(hopper::SharedAddress(shared.w_low));
  for (int block = group;; block += kGroups) {
    const int s = block % kStages;
    Stage& stage = shared.stages[s];
    // Another warpgroup had the stage before, and what was copied for that may arrive later than
    // this one's last block. A wait tells a phase only from the next, so that the stage has to be
    // seen to be this block's first.
    while (static_cast<volatile int&>(shared.blocks[s].block) != block) __nanosleep(32);
    shared.full[s].Wait(block / kStages & 1);
    const int slot = shared.blocks[s].slot, rows = shared.blocks[s].rows;
    if (slot < 0) break;
    KeyFeatures phi[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      Features(args.base, rows, half, high, low, stage.keys, phi[half]);
      __syncwarp();  // all have read the rows that are written now
      WriteFeatures(phi[half], half * kGroupRows + warp * 16, stage.keys);
    }
    // What lies beyond the sequence is another's.
    for (int c = rows * kPieces + static_cast<int>(threadIdx.x) % 128; c < kBlock * kPieces;
         c += 128) {
      reinterpret_cast<uint4*>(stage.values)[c] = {};
    }
    FenceShared();
    SyncGroup(group);
    const int64_t place = static_cast<int64_t>(walk.local_head) * args.slots + slot;
    if (leader) {
      StoreBulk(static_cast<bf16*>(args.features_k) + place * kBlock * kMmaSize, stage.keys,
                kTileBytes);
    }
    for (int g = plan.group_begin; g < plan.group_end; ++g) {
      if (args.plan.groups[g].weighted) {
        if (leader) WaitForReads();
        SyncGroup(group);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const int first = half * kGroupRows + warp * 16;
          KeyFeatures weighted;
          Weigh(args.plan.key_factors + g * kBlock, first, phi[half], weighted);
          WriteFeatures(weighted, first, stage.keys);
        }
        FenceShared();
        SyncGroup(group);
      }
      State(stage, shared.ones,
            static_cast<bf16*>(args.states) +
                (place * args.plan.max_groups + g - plan.group_begin) * kMmaState);
    }
    if (leader) WaitForReads();
    __syncwarp();
    if (lane == 0) shared.empty[s].Arrive();
  }
  if (leader) WaitForStores();
}

__device__ void Solve(const StructuredArgs& args, const TokenMaps& maps, Shared& shared) {
  const Walk walk(args);
  if (blockIdx.x == 0 && threadIdx.x == 0) *args.doubt_count = 0;
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) {
      shared.full[s].Init(1);
      shared.empty[s].Init(128 / 32);
      shared.blocks[s].block = -1;
    }
    hopper::FenceBarrierInit();
  }
  __syncthreads();
  if (threadIdx.x >= kGroups * 128) {
    hopper::ShrinkRegisters<24>();
    if (threadIdx.x == kGroups * 128) Load(args, maps, walk, shared);
    return;
  }
  hopper::GrowRegisters<112>();
  for (int c = static_cast<int>(threadIdx.x); c < 8 * 16; c += kGroups * 128) {
    shared.ones[c] = __float2bfloat16(1);
  }
  LoadProjection<kGroups * 128>(args.base, walk.head, 0, shared.w_high, shared.w_low);
  FenceShared();
  asm volatile("bar.sync %0, %1;" ::"n"(kGroups + 1), "n"(kGroups * 128) : "memory");
  Compute(args, walk, shared);
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

__global__ void __launch_bounds__(kThreads, 1)
    HopperKeys(const __grid_constant__ StructuredArgs args,
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

cudaError_t LaunchHopperKeys(const StructuredArgs& args, cudaStream_t stream) {
  int multiprocessors = 0;
  cudaError_t error = PrepareHopper(HopperKeys, kSharedBytes, &multiprocessors);
  if (error != cudaSuccess) return error;
  const AttentionArgs& base = args.base;
  TokenMaps maps{};
  error = MapTokens(base.k, args.heads, base.sequences.tokens, base.dim, kBlock, &maps.k);
  if (error != cudaSuccess) return error;
  error = MapTokens(base.v, args.heads, base.sequences.tokens, base.value_dim, kBlock, &maps.v);
  if (error != cudaSuccess) return error;
  const int heads = base.head_end - base.head_begin;
  const unsigned grid = heads * PartsOf(heads, args.slots, multiprocessors, 2);
  HopperKeys<<<grid, kThreads, kSharedBytes, stream>>>(args, maps);
  return cudaGetLastError();
}

}  // namespace longwave::attention::cuda
