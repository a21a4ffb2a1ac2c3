// The outputs of a block of queries on any tensor cores from sm_80: phi(q), the far field by the
// scanned states, and the direct tiles (phi(q) phi(k)^T * C) v, streamed through three buffers of
// shared memory. A warp holds 32 rows in registers.
#include "model/attention/cuda/structured/tiles.cuh"

namespace longwave::attention::cuda {
namespace {

constexpr int kThreads = 128;  // four warps of 32 rows
constexpr int kWarpTiles = 2;  // 16-row tiles of a warp
constexpr int kKeys = 64;      // of a step; two to a direct tile
constexpr int kStages = 3;
// Weights of a step: distances from -(kBlock - 1) to kKeys - 1.
constexpr int kStepWeights = kBlock + kKeys;

struct Stage {
  bf16 keys[kKeys * kMmaSize];  // phi(k)
  bf16 values[kKeys * kMmaSize];
  float weights[kStepWeights];
};

struct Shared {
  union {
    Stage stages[kStages];
    struct {
      Stage first;
      bf16 queries[kBlock * kMmaSize];  // until phi(q) is in registers
      bf16 w_high[kMmaSize * kMmaSize];
      bf16 w_low[kMmaSize * kMmaSize];
    } before;
    bf16 out[kBlock * kMmaSize];
  };
  bf16 state[kMmaState];
};

using Fragments = uint32_t[kWarpTiles][kMmaSize / 16][4];

// Of the warp's rows; denominators as the parts that the lane has seen.
struct Sums {
  float values[kWarpTiles][kPieces][4] = {};
  float denominators[kWarpTiles][2] = {};
};

__device__ void LoadStep(const QueryBlock& block, int tile, int part, Stage& stage) {
  const AttentionArgs& base = block.args.base;
  const int offset = block.args.plan.offsets[tile];
  CopyBytes<kThreads>(stage.keys, block.Keys(offset) + part * kKeys * kMmaSize, sizeof(stage.keys));
  CopyTokens<kKeys, kThreads>(stage.values, base.v, block.head,
                              block.position.first + offset * kBlock + part * kKeys,
                              block.KeysOf(offset) - part * kKeys, base.value_dim);
  CopyBytes<kThreads>(
      stage.weights,
      block.args.plan.weights + static_cast<int64_t>(tile) * kTileWeights + part * kKeys,
      sizeof(stage.weights));
}

// phi of the warp's queries, each row divided by its largest, as left operands.
__device__ void QueryFeatures(const AttentionArgs& args, const Shared& shared, Fragments& phi) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int m = 0; m < kWarpTiles; ++m) {
    const int row = static_cast<int>(threadIdx.x) / 32 * 32 + m * 16;
    float log[kMmaSize / 8][4], half_square[2];
    LogFeatures(args, shared.before.queries, row, shared.before.w_high, shared.before.w_low, log,
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

// Adds factor[row] phi(q) state for the warp's rows. factors null: 1.
__device__ void AddFar(const bf16* state, const float* factors, const Fragments& phi, Sums& sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float factor[kWarpTiles][2];
#pragma unroll
  for (int m = 0; m < kWarpTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int i = static_cast<int>(threadIdx.x) / 32 * 32 + m * 16 + half * 8 + lane / 4;
      factor[m][half] = factors == nullptr ? 1 : factors[i];
    }
  }
  float totals[kWarpTiles][2] = {};
#pragma unroll
  for (int k = 0; k < kMmaSize / 16; ++k) {
#pragma unroll
    for (int part = 0; part < 2; ++part) {
      const float2 total = UnpackBf16(*reinterpret_cast<const uint32_t*>(
          state + kMmaSize * kMmaSize + k * 16 + part * 8 + lane % 4 * 2));
#pragma unroll
      for (int m = 0; m < kWarpTiles; ++m) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const float2 pair = UnpackBf16(phi[m][k][2 * part + half]);
          totals[m][half] += pair.x * total.x + pair.y * total.y;
        }
      }
    }
  }
#pragma unroll
  for (int e = 0; e < kMmaSize / 16; ++e) {
    float product[kWarpTiles][2][4] = {};
#pragma unroll
    for (int k = 0; k < kMmaSize / 16; ++k) {
      uint32_t s[4];
      LoadTilesTransposed(s, state + PieceOf(k * 16 + lane % 16, 2 * e + lane / 16));
#pragma unroll
      for (int m = 0; m < kWarpTiles; ++m) {
        MultiplyAdd(product[m][0], phi[m][k], s[0], s[1]);
        MultiplyAdd(product[m][1], phi[m][k], s[2], s[3]);
      }
    }
#pragma unroll
    for (int m = 0; m < kWarpTiles; ++m) {
#pragma unroll
      for (int c = 0; c < 4; ++c) {
        sums.values[m][2 * e][c] += factor[m][c / 2] * product[m][0][c];
        sums.values[m][2 * e + 1][c] += factor[m][c / 2] * product[m][1][c];
      }
    }
  }
#pragma unroll
  for (int m = 0; m < kWarpTiles; ++m) {
    sums.denominators[m][0] += factor[m][0] * totals[m][0];
    sums.denominators[m][1] += factor[m][1] * totals[m][1];
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
      LoadTiles(keys,
                stage.keys + PieceOf(k * 16 + lane % 8 + lane / 16 * 8, 2 * f + lane / 8 % 2));
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
          const float x = scores[m][n][2 * half] * c.x, y = scores[m][n][2 * half + 1] * c.y;
          weighted[m][2 * n + half] = PackBf16(x, y);
          // The sum of what v is weighted by, rounding included: it cancels in the quotient.
          sums.denominators[m][half] += SumBf16(weighted[m][2 * n + half]);
        }
      }
    }
#pragma unroll
    for (int e = 0; e < kMmaSize / 16; ++e) {
      uint32_t v[4];
      LoadTilesTransposed(v, stage.values + PieceOf(k * 16 + lane % 16, 2 * e + lane / 16));
#pragma unroll
      for (int m = 0; m < kWarpTiles; ++m) {
        MultiplyAdd(sums.values[m][2 * e], weighted[m], v[0], v[1]);
        MultiplyAdd(sums.values[m][2 * e + 1], weighted[m], v[2], v[3]);
      }
    }
  }
}

// Divides, marks rows in doubt and puts the block into a tile.
__device__ void Finish(const QueryBlock& block, bool too_long, const Sums& sums, bf16* tile) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int m = 0; m < kWarpTiles; ++m) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = static_cast<int>(threadIdx.x) / 32 * 32 + m * 16 + half * 8 + lane / 4;
      float denominator = sums.denominators[m][half];
      denominator += __shfl_xor_sync(~0U, denominator, 1);
      denominator += __shfl_xor_sync(~0U, denominator, 2);
      const float inverse = 1 / denominator;
#pragma unroll
      for (int e = 0; e < kPieces; ++e) {
        *reinterpret_cast<uint32_t*>(tile + PieceOf(row, e) + lane % 4 * 2) = PackBf16(
            sums.values[m][e][2 * half] * inverse, sums.values[m][e][2 * half + 1] * inverse);
      }
      if (lane % 4 == 0 && row < block.position.rows &&
          (too_long || !Trusted(denominator, block.position.length, block.args.base.features))) {
        MarkDoubt(block.args, block.position.first + row, block.head);
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads, 3)
    MmaQueries(const __grid_constant__ StructuredArgs args) {
  extern __shared__ __align__(16) unsigned char storage[];
  Shared& shared = *reinterpret_cast<Shared*>(storage);
  const AttentionArgs& base = args.base;
  const QueryBlock block(args, static_cast<int>(blockIdx.y), static_cast<int>(blockIdx.x));
  if (block.position.rows == 0) return;

  CopyTokens<kBlock, kThreads>(shared.before.queries, base.q, block.head, block.position.first,
                               block.position.rows, base.dim);
  int group = block.plan.group_begin;
  if (group < block.plan.group_end) {
    CopyBytes<kThreads>(shared.state, block.Sums(group), sizeof(shared.state));
  }
  CommitCopies();
  const DirectRange tiles = DirectTilesOf(args.plan, block.plan, block.position);
  // The second half of the sequence's last block may not exist.
  const bool half = block.KeysOf(args.plan.offsets[tiles.end - 1]) <= kKeys;
  const int steps = 2 * (tiles.end - tiles.begin) - (half ? 1 : 0);
  LoadStep(block, tiles.begin, 0, shared.stages[0]);
  CommitCopies();
  const bool too_long = __syncthreads_or(LoadProjection<kThreads>(
      base, block.head, args.max_norm, shared.before.w_high, shared.before.w_low));
  WaitForCopies<1>();
  __syncthreads();

  Fragments phi;
  QueryFeatures(base, shared, phi);
  Sums sums;
  for (; group < block.plan.group_end; ++group) {
    const StateGroup& states = args.plan.groups[group];
    if (!block.Reached(states)) continue;
    if (group > block.plan.group_begin) {
      __syncthreads();
      CopyBytes<kThreads>(shared.state, block.Sums(group), sizeof(shared.state));
      CommitCopies();
      WaitForCopies<0>();
      __syncthreads();
    }
    AddFar(shared.state, states.weighted ? args.plan.query_factors + group * kBlock : nullptr, phi,
           sums);
  }
  __syncthreads();
  if (steps > 1) LoadStep(block, tiles.begin, 1, shared.stages[1]);
  CommitCopies();
  for (int step = 0; step < steps; ++step) {
    WaitForCopies<1>();
    __syncthreads();
    const int next = step + 2;
    if (next < steps) {
      LoadStep(block, tiles.begin + next / 2, next % 2, shared.stages[next % kStages]);
    }
    CommitCopies();
    AddStep(shared.stages[step % kStages], phi, sums);
  }
  WaitForCopies<0>();
  __syncthreads();
  Finish(block, too_long, sums, shared.out);
  __syncthreads();
  WriteOutput<kThreads>(block, shared.out);
}

}  // namespace

cudaError_t LaunchMmaQueries(const StructuredArgs& args, cudaStream_t stream) {
  const cudaError_t error =
      cudaFuncSetAttribute(MmaQueries, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared));
  if (error != cudaSuccess) return error;
  // The heads of a token lie side by side in memory: their blocks run together.
  const dim3 grid(args.base.head_end - args.base.head_begin, args.slots);
  MmaQueries<<<grid, kThreads, sizeof(Shared), stream>>>(args);
  return cudaGetLastError();
}

}  // namespace longwave::attention::cuda
