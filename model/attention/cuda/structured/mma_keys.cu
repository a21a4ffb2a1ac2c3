// phi(k) and the states of a block: one thread block for each block of tokens and head.
#include "model/attention/cuda/structured/tiles.cuh"

namespace longwave::attention::cuda {
namespace {

constexpr int kThreads = 256;  // eight warps of 16 tokens

struct Shared {
  bf16 keys[kBlock * kMmaSize];  // then phi(k)
  bf16 values[kBlock * kMmaSize];
  bf16 w_high[kMmaSize * kMmaSize];
  bf16 w_low[kMmaSize * kMmaSize];
};

// phi of the warp's rows, in place.
__device__ void Features(const AttentionArgs& args, int rows, Shared& shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) / 32 * 16;
  float log[kMmaSize / 8][4], half_square[2];
  LogFeatures(args, shared.keys, row, shared.w_high, shared.w_low, log, half_square);
  __syncwarp();  // all have read the rows that are written now
#pragma unroll
  for (int f = 0; f < kMmaSize / 8; ++f) {
    const int column = f * 8 + lane % 4 * 2;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int r = row + half * 8 + lane / 4;
      const auto phi = [&](int c) {
        const bool valid = r < rows && column + c < args.features;
        return valid ? __expf(log[f][2 * half + c] - half_square[half]) : 0.0F;
      };
      *reinterpret_cast<uint32_t*>(shared.keys + PieceOf(r, f) + lane % 4 * 2) =
          PackBf16(phi(0), phi(1));
    }
  }
}

// sum over the block's keys of factor[j] phi(k_j)^T [v_j | 1]: 16 features and half of the values a
// warp. factor null: 1.
__device__ void State(const Shared& shared, const float* factor, bf16* state) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int feature = warp / 2 * 16, piece = warp % 2 * (kPieces / 2);
  float sum[kPieces / 2][4] = {};
  float total[2] = {0, 0};  // of rows l / 4 and l / 4 + 8, this lane's keys
#pragma unroll
  for (int k = 0; k < kBlock / 16; ++k) {
    uint32_t phi[4];
    LoadTilesTransposed(
        phi, shared.keys + PieceOf(k * 16 + lane % 8 + lane / 16 * 8, feature / 8 + lane / 8 % 2));
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      float2 pair = UnpackBf16(phi[r]);
      if (factor != nullptr) {
        const int j = k * 16 + r / 2 * 8 + lane % 4 * 2;
        phi[r] = PackBf16(pair.x * factor[j], pair.y * factor[j + 1]);
        pair = UnpackBf16(phi[r]);
      }
      total[r % 2] += pair.x + pair.y;
    }
#pragma unroll
    for (int e = 0; e < kPieces / 4; ++e) {
      uint32_t v[4];
      LoadTilesTransposed(v,
                          shared.values + PieceOf(k * 16 + lane % 16, piece + 2 * e + lane / 16));
      MultiplyAdd(sum[2 * e], phi, v[0], v[1]);
      MultiplyAdd(sum[2 * e + 1], phi, v[2], v[3]);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int f = feature + half * 8 + lane / 4;
#pragma unroll
    for (int e = 0; e < kPieces / 2; ++e) {
      *reinterpret_cast<uint32_t*>(state + PieceOf(f, piece + e) + lane % 4 * 2) =
          PackBf16(sum[e][2 * half], sum[e][2 * half + 1]);
    }
    total[half] += __shfl_xor_sync(~0U, total[half], 1);
    total[half] += __shfl_xor_sync(~0U, total[half], 2);
    if (lane % 4 == 0 && piece == 0) state[kMmaSize * kMmaSize + f] = __float2bfloat16(total[half]);
  }
}

__global__ void __launch_bounds__(kThreads, 3)
    MmaKeys(const __grid_constant__ StructuredArgs args) {
  extern __shared__ __align__(16) unsigned char storage[];
  Shared& shared = *reinterpret_cast<Shared*>(storage);
  // The heads of a token lie side by side in memory: their blocks run together.
  const int local_head = static_cast<int>(blockIdx.x), slot = static_cast<int>(blockIdx.y);
  if (slot == 0 && local_head == 0 && threadIdx.x == 0) *args.doubt_count = 0;
  const AttentionArgs& base = args.base;
  const int head = base.head_begin + local_head;
  const BlockPosition position = Locate(base.sequences, slot);
  if (position.rows == 0) return;

  const HeadPlan plan = args.plan.heads[head];  // asked for early: it takes a while
  CopyTokens<kBlock, kThreads>(shared.keys, base.k, head, position.first, position.rows, base.dim);
  CommitCopies();
  CopyTokens<kBlock, kThreads>(shared.values, base.v, head, position.first, position.rows,
                               base.value_dim);
  CommitCopies();
  LoadProjection<kThreads>(base, head, 0, shared.w_high, shared.w_low);
  WaitForCopies<1>();
  __syncthreads();
  Features(base, position.rows, shared);
  WaitForCopies<0>();
  __syncthreads();

  const int64_t place = static_cast<int64_t>(local_head) * args.slots + slot;
  uint4* const features =
      reinterpret_cast<uint4*>(static_cast<bf16*>(args.features_k) + place * kBlock * kMmaSize);
#pragma unroll
  for (int c = static_cast<int>(threadIdx.x); c < kBlock * kPieces; c += kThreads) {
    features[c] = reinterpret_cast<const uint4*>(shared.keys)[c];
  }
  for (int g = plan.group_begin; g < plan.group_end; ++g) {
    const StateGroup group = args.plan.groups[g];
    State(shared, group.weighted ? args.plan.key_factors + g * kBlock : nullptr,
          static_cast<bf16*>(args.states) +
              (place * args.plan.max_groups + g - plan.group_begin) * kMmaState);
  }
}

}  // namespace

cudaError_t LaunchMmaKeys(const StructuredArgs& args, cudaStream_t stream) {
  const cudaError_t error =
      cudaFuncSetAttribute(MmaKeys, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared));
  if (error != cudaSuccess) return error;
  const dim3 grid(args.base.head_end - args.base.head_begin, args.slots);
  MmaKeys<<<grid, kThreads, sizeof(Shared), stream>>>(args);
  return cudaGetLastError();
}

}  // namespace longwave::attention::cuda
