// phi(k) and the states of a block: one thread block for each block of tokens and head.
#include "model/attention/cuda/structured/mma_tiles.cuh"

namespace longwave::attention::cuda {
namespace {

struct Shared {
  bf16 keys[kBlock * kStride];  // then phi(k)
  bf16 values[kBlock * kStride];
  bf16 w_high[kMmaSize * kStride];
  bf16 w_low[kMmaSize * kStride];
};

// phi of the warp's rows, in place.
__device__ void Features(const AttentionArgs& args, int rows, Shared& shared) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int m = 0; m < kWarpTiles; ++m) {
    const int row = static_cast<int>(threadIdx.x) / 32 * 32 + m * 16;
    float log[kMmaSize / 8][4], half_square[2];
    LogFeatures(args, shared.keys + row * kStride, shared.w_high, shared.w_low, log, half_square);
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
        *reinterpret_cast<uint32_t*>(shared.keys + r * kStride + column) = PackBf16(phi(0), phi(1));
      }
    }
  }
}

// sum over the block's keys of decay[j] phi(k_j)^T [v_j | 1]: 16 features a warp. decay null: 1.
__device__ void State(const Shared& shared, const float* decay, bool mirrored, bf16* state) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int feature = static_cast<int>(threadIdx.x) / 32 * 16;
  float sum[kValueTiles][4] = {};
#pragma unroll
  for (int k = 0; k < kBlock / 16; ++k) {
    uint32_t phi[4];
    LoadTilesTransposed(phi, shared.keys + (k * 16 + lane % 8 + lane / 16 * 8) * kStride + feature +
                                 lane / 8 % 2 * 8);
    if (decay != nullptr) {
#pragma unroll
      for (int r = 0; r < 4; ++r) {
        const int j = k * 16 + r / 2 * 8 + lane % 4 * 2;
        const float2 pair = UnpackBf16(phi[r]);
        phi[r] = mirrored ? PackBf16(pair.x * decay[kBlock - 1 - j], pair.y * decay[kBlock - 2 - j])
                          : PackBf16(pair.x * decay[j], pair.y * decay[j + 1]);
      }
    }
    const bf16* const row = shared.values + (k * 16 + lane % 16) * kStride;
#pragma unroll
    for (int e = 0; e < kMmaSize / 16; ++e) {
      uint32_t v[4];
      LoadTilesTransposed(v, row + e * 16 + lane / 16 * 8);
      MultiplyAdd(sum[2 * e], phi, v[0], v[1]);
      MultiplyAdd(sum[2 * e + 1], phi, v[2], v[3]);
    }
    uint32_t ones[2];
    LoadTilesTransposed(ones, row + kMmaSize);
    MultiplyAdd(sum[kValueTiles - 1], phi, ones[0], ones[1]);
  }
#pragma unroll
  for (int e = 0; e < kValueTiles; ++e) {
    bf16* const to = state + (feature + lane / 4) * kStride + e * 8 + lane % 4 * 2;
    *reinterpret_cast<uint32_t*>(to) = PackBf16(sum[e][0], sum[e][1]);
    *reinterpret_cast<uint32_t*>(to + 8 * kStride) = PackBf16(sum[e][2], sum[e][3]);
  }
}

__global__ void __launch_bounds__(kThreads) MmaKeys(const __grid_constant__ StructuredArgs args) {
  extern __shared__ __align__(16) unsigned char storage[];
  Shared& shared = *reinterpret_cast<Shared*>(storage);
  const int slot = static_cast<int>(blockIdx.x), local_head = static_cast<int>(blockIdx.y);
  if (slot == 0 && local_head == 0 && threadIdx.x == 0) *args.doubt_count = 0;
  const AttentionArgs& base = args.base;
  const int head = base.head_begin + local_head;
  const BlockPosition position = Locate(base.sequences, slot);
  if (position.rows == 0) return;

  CopyTokens<kBlock>(shared.keys, base.k, head, position.first, position.rows, base.dim);
  CommitCopies();
  CopyTokens<kBlock>(shared.values, base.v, head, position.first, position.rows, base.value_dim);
  CommitCopies();
  FillOnes<kBlock>(shared.values);
  LoadProjection(base, head, 0, shared.w_high, shared.w_low);
  WaitForCopies<1>();
  __syncthreads();
  Features(base, position.rows, shared);
  WaitForCopies<0>();
  __syncthreads();

  const int64_t place = static_cast<int64_t>(local_head) * args.slots + slot;
  bf16* const features = static_cast<bf16*>(args.features_k) + place * kBlock * kMmaSize;
#pragma unroll
  for (int c = static_cast<int>(threadIdx.x); c < kBlock * (kMmaSize / 8); c += kThreads) {
    reinterpret_cast<uint4*>(features)[c] = *reinterpret_cast<const uint4*>(
        shared.keys + c / (kMmaSize / 8) * kStride + c % (kMmaSize / 8) * 8);
  }
  const HeadPlan plan = args.plan.heads[head];
  for (int g = plan.group_begin; g < plan.group_end; ++g) {
    const StateGroup group = args.plan.groups[g];
    State(shared, group.exponential ? args.plan.decays + g * kBlock : nullptr,
          group.left_nearest > 0,
          static_cast<bf16*>(args.states) +
              (place * args.plan.max_groups + g - plan.group_begin) * kMmaState.size());
  }
}

}  // namespace

cudaError_t LaunchMmaKeys(const StructuredArgs& args, cudaStream_t stream) {
  static const cudaError_t kPrepared =
      cudaFuncSetAttribute(MmaKeys, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared));
  if (kPrepared != cudaSuccess) return kPrepared;
  const dim3 grid(args.slots, args.base.head_end - args.base.head_begin);
  MmaKeys<<<grid, kThreads, sizeof(Shared), stream>>>(args);
  return cudaGetLastError();
}

}  // namespace longwave::attention::cuda
