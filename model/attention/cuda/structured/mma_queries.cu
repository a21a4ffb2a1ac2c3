// The outputs of a block of queries: phi(q), the far field by the scanned states, and the direct
// tiles (phi(q) phi(k)^T * C) [v | 1], streamed through three buffers of shared memory. A warp
// holds 32 rows in registers.
#include "model/attention/cuda/structured/mma_tiles.cuh"

namespace longwave::attention::cuda {
namespace {

constexpr int kKeys = 64;  // of a step; two to a direct tile
constexpr int kStages = 3;
// Weights of a step: distances from -(kBlock - 1) to kKeys - 1.
constexpr int kStepWeights = kBlock + kKeys;

struct Stage {
  bf16 keys[kKeys * kStride];  // phi(k)
  bf16 values[kKeys * kStride];
  float weights[kStepWeights];
};

struct Queries {
  bf16 rows[kBlock * kStride];
  bf16 w_high[kMmaSize * kStride];
  bf16 w_low[kMmaSize * kStride];
};

struct Shared {
  union {
    Stage stages[kStages];
    struct {
      Stage first;
      Queries queries;  // until phi(q) is in registers
    } before;
    bf16 out[kBlock * kStride];
  };
  bf16 state[kMmaSize * kStride];
};

struct Block {
  const StructuredArgs& args;
  BlockPosition position;
  HeadPlan plan;
  int local_head;
  int head;
  int slot;
};

using Fragments = uint32_t[kWarpTiles][kMmaSize / 16][4];
using Sums = float[kWarpTiles][kValueTiles][4];

__device__ void LoadStep(const Block& block, int tile, int part, Stage& stage) {
  const AttentionArgs& base = block.args.base;
  const int offset = block.args.plan.offsets[tile];
  const int64_t place =
      static_cast<int64_t>(block.local_head) * block.args.slots + block.slot + offset;
  const bf16* const features =
      static_cast<const bf16*>(block.args.features_k) + (place * kBlock + part * kKeys) * kMmaSize;
#pragma unroll
  for (int c = static_cast<int>(threadIdx.x); c < kKeys * (kMmaSize / 8); c += kThreads) {
    CopyAsync16(stage.keys + c / (kMmaSize / 8) * kStride + c % (kMmaSize / 8) * 8,
                features + c * 8, true);
  }
  const int key = (block.position.index + offset) * kBlock + part * kKeys;  // in the sequence
  CopyTokens<kKeys>(stage.values, base.v, block.head,
                    block.position.first + offset * kBlock + part * kKeys,
                    block.position.length - key, base.value_dim);
  if (threadIdx.x < kStepWeights / 4) {
    CopyAsync16(stage.weights + threadIdx.x * 4,
                block.args.plan.weights + static_cast<int64_t>(tile) * kTileWeights + part * kKeys +
                    threadIdx.x * 4,
                true);
  }
}

// phi of the warp's queries, each row divided by its largest, as left operands.
__device__ void QueryFeatures(const AttentionArgs& args, const Queries& queries, Fragments& phi) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int m = 0; m < kWarpTiles; ++m) {
    const int row = static_cast<int>(threadIdx.x) / 32 * 32 + m * 16;
    float log[kMmaSize / 8][4], half_square[2];
    LogFeatures(args, queries.rows + row * kStride, queries.w_high, queries.w_low, log,
                half_square);
    float largest[2] = {-INFINITY, -INFINITY};
#pragma unroll
    for (int f = 0; f < kMmaSize / 8; ++f) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        // Beyond the features: exp gives 0.
        if (f * 8 + lane % 4 * 2 + c % 2 >= args.features) log[f][c] = -INFINITY;
        largest[c / 2] = fmaxf(largest[c / 2], log[f][c]);
      }
    }
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      largest[half] = fmaxf(largest[half], __shfl_xor_sync(~0U, largest[half], 1));
      largest[half] = fmaxf(largest[half], __shfl_xor_sync(~0U, largest[half], 2));
    }
#pragma unroll
    for (int f = 0; f < kMmaSize / 8; ++f) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        phi[m][f / 2][f % 2 * 2 + half] = PackBf16(__expf(log[f][2 * half] - largest[half]),
                                                   __expf(log[f][2 * half + 1] - largest[half]));
      }
    }
  }
}

// Adds factor[row] phi(q) state for the warp's rows. decay null: factors of 1.
__device__ void AddFar(const bf16* state, const float* decay, bool mirrored, const Fragments& phi,
                       Sums& sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) / 32 * 32 + lane / 4;
#pragma unroll
  for (int e = 0; e < kValueTiles; ++e) {
    float product[kWarpTiles][4] = {};
#pragma unroll
    for (int k = 0; k < kMmaSize / 16; ++k) {
      uint32_t s[2];
      LoadTilesTransposed(s, state + (k * 16 + lane % 16) * kStride + e * 8);
#pragma unroll
      for (int m = 0; m < kWarpTiles; ++m) MultiplyAdd(product[m], phi[m][k], s[0], s[1]);
    }
#pragma unroll
    for (int m = 0; m < kWarpTiles; ++m) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        float factor = 1;
        if (decay != nullptr) {
          const int i = row + m * 16 + c / 2 * 8;
          factor = decay[mirrored ? i : kBlock - 1 - i];
        }
        sums[m][e][c] += factor * product[m][c];
      }
    }
  }
}

// Adds the direct part of one step.
__device__ void AddStep(const Stage& stage, const Fragments& phi, Sums& sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  // Of the pair of columns (8 p + 2 (l % 4), + 1) and row l / 4: the weights of eight rows further
  // down are those of eight columns to the left.
  const float* const weight = stage.weights + kBlock - 1 - warp * 32 - lane / 4 + lane % 4 * 2;
  constexpr int kRowGroups = 2 * kWarpTiles;
  float2 pairs[kRowGroups + 1];  // of column groups 2 k + 1 down to 2 k + 1 - kRowGroups
#pragma unroll
  for (int p = 0; p < kRowGroups - 1; ++p) {
    pairs[p] = {weight[-8 * (p + 1)], weight[-8 * (p + 1) + 1]};
  }
#pragma unroll
  for (int k = 0; k < kKeys / 16; ++k) {
#pragma unroll
    for (int p = kRowGroups; p >= 2; --p) pairs[p] = pairs[p - 2];
    pairs[1] = {weight[16 * k], weight[16 * k + 1]};
    pairs[0] = {weight[16 * k + 8], weight[16 * k + 9]};

    float scores[kWarpTiles][2][4] = {};
#pragma unroll
    for (int f = 0; f < kMmaSize / 16; ++f) {
      uint32_t keys[4];
      LoadTiles(keys, stage.keys + (k * 16 + lane % 8 + lane / 16 * 8) * kStride + f * 16 +
                          lane / 8 % 2 * 8);
#pragma unroll
      for (int m = 0; m < kWarpTiles; ++m) {
        MultiplyAdd(scores[m][0], phi[m][f], keys[0], keys[1]);
        MultiplyAdd(scores[m][1], phi[m][f], keys[2], keys[3]);
      }
    }
    uint32_t weighted[kWarpTiles][4];
#pragma unroll
    for (int m = 0; m < kWarpTiles; ++m) {
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float2 c = pairs[1 - n + 2 * m + half];
          weighted[m][2 * n + half] =
              PackBf16(scores[m][n][2 * half] * c.x, scores[m][n][2 * half + 1] * c.y);
        }
      }
    }
    const bf16* const row = stage.values + (k * 16 + lane % 16) * kStride;
#pragma unroll
    for (int e = 0; e < kMmaSize / 16; ++e) {
      uint32_t v[4];
      LoadTilesTransposed(v, row + e * 16 + lane / 16 * 8);
#pragma unroll
      for (int m = 0; m < kWarpTiles; ++m) {
        MultiplyAdd(sums[m][2 * e], weighted[m], v[0], v[1]);
        MultiplyAdd(sums[m][2 * e + 1], weighted[m], v[2], v[3]);
      }
    }
    uint32_t ones[2];
    LoadTilesTransposed(ones, row + kMmaSize);
#pragma unroll
    for (int m = 0; m < kWarpTiles; ++m) {
      MultiplyAdd(sums[m][kValueTiles - 1], weighted[m], ones[0], ones[1]);
    }
  }
}

// Divides, marks rows in doubt and writes the block.
__device__ void Write(const Block& block, bool long_rows, const Sums& sums, bf16* tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const AttentionArgs& base = block.args.base;
  const BlockPosition& position = block.position;
#pragma unroll
  for (int m = 0; m < kWarpTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = static_cast<int>(threadIdx.x) / 32 * 32 + m * 16 + half * 8 + lane / 4;
      // Column kMmaSize is with the first lane of four.
      const float denominator = __shfl_sync(~0U, sums[m][kValueTiles - 1][2 * half], lane / 4 * 4);
      const float inverse = 1 / denominator;
#pragma unroll
      for (int e = 0; e < kMmaSize / 8; ++e) {
        *reinterpret_cast<uint32_t*>(tile + row * kStride + e * 8 + lane % 4 * 2) =
            PackBf16(sums[m][e][2 * half] * inverse, sums[m][e][2 * half + 1] * inverse);
      }
      if (lane % 4 == 0 && row < position.rows &&
          (long_rows || !Trusted(denominator, position.length, base.features))) {
        MarkDoubt(block.args, position.first + row, block.head);
      }
    }
  }
  __syncthreads();
  bf16* const out = static_cast<bf16*>(base.out.data) + position.first * base.out.token_stride +
                    block.head * base.out.head_stride;
#pragma unroll
  for (int c = static_cast<int>(threadIdx.x); c < kBlock * (kMmaSize / 8); c += kThreads) {
    const int row = c / (kMmaSize / 8), column = c % (kMmaSize / 8) * 8;
    if (row < position.rows && column < base.value_dim) {
      *reinterpret_cast<uint4*>(out + row * base.out.token_stride + column) =
          *reinterpret_cast<const uint4*>(tile + row * kStride + column);
    }
  }
}

// Whether a group has anything to give to this block.
__device__ bool Reaches(const Block& block, const StateGroup& group) {
  const int b = block.position.index;
  return (group.left_nearest > 0 && b >= group.left_nearest) ||
         (group.right_nearest > 0 && b + group.right_nearest < block.position.blocks) ||
         (!group.exponential && block.plan.window_end > block.plan.window_begin);
}

__device__ void CopyState(const Block& block, int group, bf16* to) {
  const int64_t place = static_cast<int64_t>(block.local_head) * block.args.slots + block.slot;
  const uint4* const from = reinterpret_cast<const uint4*>(
      static_cast<const bf16*>(block.args.sums) +
      (place * block.args.plan.max_groups + group - block.plan.group_begin) * kMmaState.size());
  for (int c = static_cast<int>(threadIdx.x); c < kMmaState.size() / 8; c += kThreads) {
    CopyAsync16(reinterpret_cast<uint4*>(to) + c, from + c, true);
  }
}

__global__ void __launch_bounds__(kThreads, 3)
    MmaQueries(const __grid_constant__ StructuredArgs args) {
  extern __shared__ __align__(16) unsigned char storage[];
  Shared& shared = *reinterpret_cast<Shared*>(storage);
  const AttentionArgs& base = args.base;
  const int local_head = static_cast<int>(blockIdx.y);
  const int head = base.head_begin + local_head;
  const Block block{args,
                    Locate(base.sequences, static_cast<int>(blockIdx.x)),
                    args.plan.heads[head],
                    local_head,
                    head,
                    static_cast<int>(blockIdx.x)};
  if (block.position.rows == 0) return;

  CopyTokens<kBlock>(shared.before.queries.rows, base.q, head, block.position.first,
                     block.position.rows, base.dim);
  const bool far = block.plan.group_begin < block.plan.group_end;
  if (far) CopyState(block, block.plan.group_begin, shared.state);
  CommitCopies();
  const DirectRange tiles = DirectTilesOf(args.plan, block.plan, block.position);
  // Keys [64, 128) of the sequence's last block may not exist.
  const int last = args.plan.offsets[tiles.end - 1] + block.position.index;
  const bool half =
      last == block.position.blocks - 1 && block.position.length - last * kBlock <= kKeys;
  const int steps = 2 * (tiles.end - tiles.begin) - (half ? 1 : 0);
  LoadStep(block, tiles.begin, 0, shared.stages[0]);
  CommitCopies();
  const bool long_rows = __syncthreads_or(LoadProjection(
      base, head, args.max_norm, shared.before.queries.w_high, shared.before.queries.w_low));
  WaitForCopies<1>();
  __syncthreads();

  Fragments phi;
  QueryFeatures(base, shared.before.queries, phi);
  Sums sums = {};
  for (int g = block.plan.group_begin; g < block.plan.group_end; ++g) {
    const StateGroup group = args.plan.groups[g];
    if (!Reaches(block, group)) continue;
    if (g > block.plan.group_begin) {
      __syncthreads();
      CopyState(block, g, shared.state);
      CommitCopies();
      WaitForCopies<0>();
      __syncthreads();
    }
    AddFar(shared.state, group.exponential ? args.plan.decays + g * kBlock : nullptr,
           group.left_nearest > 0, phi, sums);
  }
  __syncthreads();
  for (Stage& stage : shared.stages) FillOnes<kKeys>(stage.values);
  if (steps > 1) LoadStep(block, tiles.begin, 1, shared.stages[1]);
  CommitCopies();
  for (int step = 0; step < steps; ++step) {
    WaitForCopies<1>();
    __syncthreads();
    const int next = step + 2;
    if (next < steps)
      LoadStep(block, tiles.begin + next / 2, next % 2, shared.stages[next % kStages]);
    CommitCopies();
    AddStep(shared.stages[step % kStages], phi, sums);
  }
  WaitForCopies<0>();
  __syncthreads();
  Write(block, long_rows, sums, shared.out);
}

}  // namespace

cudaError_t LaunchMmaQueries(const StructuredArgs& args, cudaStream_t stream) {
  static const cudaError_t kPrepared =
      cudaFuncSetAttribute(MmaQueries, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared));
  if (kPrepared != cudaSuccess) return kPrepared;
  const dim3 grid(args.slots, args.base.head_end - args.base.head_begin);
  MmaQueries<<<grid, kThreads, sizeof(Shared), stream>>>(args);
  return cudaGetLastError();
}

}  // namespace longwave::attention::cuda
