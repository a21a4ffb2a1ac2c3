#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_FEATURES_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_FEATURES_CUH_

#include "model/attention/cuda/direct_hopper.cuh"
#include "model/attention/cuda/direct_tiles.cuh"

// phi of a tile of 64 tokens, by a warpgroup: W is a sum of two bfloat16, wgmma, exponentials.
namespace longwave::attention::cuda::fused {

using bf16 = __nv_bfloat16;

constexpr int kGroupThreads = 128;
constexpr int kTile = 64;   // keys of a tile, rows of a warpgroup
constexpr int kWidth = 64;  // channels and features, padded
constexpr int kTileBytes = kTile * kPanelRowBytes;
constexpr int kRegisters = kWidth / 2;  // of a 64 x 64 product, by thread
constexpr float kNormEps = 1e-12f;
constexpr float kLog2E = 1.44269504f;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

using Fragments = uint32_t[kWidth / 16][4];

__device__ inline float Exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// Begins to copy this warp's 16 rows of a tile: rows [first, first + 64) of a sequence of `length`.
__device__ inline void LoadRows(char* tile, const TokenView& view, int head, int columns,
                                const SequenceTile& block, int first) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int piece = lane % 8;
  const int row = static_cast<int>(threadIdx.x) % kGroupThreads / 32 * 16 + lane / 8;
  const bf16* const from =
      static_cast<const bf16*>(view.data) +
      static_cast<int64_t>(block.token_begin + first + row) * view.token_stride +
      head * view.head_stride + piece * 8;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const bool valid = first + row + 4 * i < block.length && piece * 8 < columns;
    CopyAsync16(tile + SwizzledByte(row + 4 * i, piece),
                valid ? from + 4 * i * view.token_stride : view.data, valid);
  }
}

// W of a head as two tiles [feature][channel].
template <int kThreads>
__device__ void LoadProjection(const AttentionArgs& a, int head, char (&tiles)[2][kTileBytes]) {
  const float* const w = a.projection + head * a.projection_head_stride;
  for (int i = static_cast<int>(threadIdx.x); i < kWidth * 8; i += kThreads) {
    const int feature = i / 8, piece = i % 8;
    float x[8] = {};
    if (feature < a.features && piece * 8 < a.dim) {
      const float4* const from =
          reinterpret_cast<const float4*>(w + feature * a.projection_row_stride + piece * 8);
      *reinterpret_cast<float4*>(x) = __ldg(from);
      *reinterpret_cast<float4*>(x + 4) = __ldg(from + 1);
    }
#pragma unroll
    for (auto& tile : tiles) {
      uint4 part;
      part.x = TakePart(x[0], x[1]);
      part.y = TakePart(x[2], x[3]);
      part.z = TakePart(x[4], x[5]);
      part.w = TakePart(x[6], x[7]);
      *reinterpret_cast<uint4*>(tile + SwizzledByte(feature, piece)) = part;
    }
  }
}

__device__ inline void GroupSync(int group) {
  asm volatile("barrier.cta.sync %0, 128;" ::"r"(group + 1) : "memory");
}

// phi of this warpgroup's 64 rows of a tile as left operands; rows from `valid` on are 0 for keys.
template <bool kKeys>
__device__ void Features(const AttentionArgs& a, const char* tile, int valid,
                         const char (&projection)[2][kTileBytes], Fragments& phi) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) % kGroupThreads / 32 * 16;
  const uint64_t rows = hopper::Descriptor(hopper::SharedAddress(tile));
  const uint64_t high = hopper::Descriptor(hopper::SharedAddress(projection[0]));
  const uint64_t low = hopper::Descriptor(hopper::SharedAddress(projection[1]));
  float log[kRegisters];
  hopper::WgmmaFence();
#pragma unroll
  for (int s = 0; s < kWidth / 16; ++s) {
    // 16 channels are 32 bytes of a row; descriptors count in 16.
    hopper::WgmmaShared(log, rows + 2 * s, low + 2 * s, s > 0);
  }
#pragma unroll
  for (int s = 0; s < kWidth / 16; ++s) {
    hopper::WgmmaShared(log, rows + 2 * s, high + 2 * s, true);
  }
  hopper::WgmmaCommit();
  float factor[2] = {0, 0}, offset[2];
#pragma unroll
  for (int s = 0; s < kWidth / 16; ++s) {
    uint32_t x[4];
    LoadTiles(x, tile + SwizzledByte(row + lane % 16, 2 * s + lane / 16));
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float2 pair = UnpackBf16(x[i]);
      factor[i % 2] += pair.x * pair.x + pair.y * pair.y;
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    float square = factor[half];
    square += __shfl_xor_sync(~0u, square, 1);
    square += __shfl_xor_sync(~0u, square, 2);
    float y = static_cast<float>(a.scale) * rsqrtf(fmaxf(square, kNormEps * kNormEps));
    if (!(square < 1e37f)) y = __int_as_float(0x7fffffff);  // NaN: the rows will be found
    factor[half] = kLog2E * y;
    offset[half] = kKeys ? -0.5f * kLog2E * square * y * y : 0.0f;
    if (kKeys && row + lane / 4 + 8 * half >= valid) offset[half] = -INFINITY;
  }
  hopper::WgmmaWait<0>();
  hopper::Hold(log);
#pragma unroll
  for (int g = 0; g < kWidth / 8; ++g) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float p = Exp2(fmaf(log[4 * g + 2 * half], factor[half], offset[half]));
      float q = Exp2(fmaf(log[4 * g + 2 * half + 1], factor[half], offset[half]));
      if (kKeys && a.features < kWidth) {
        const int feature = 8 * g + 2 * (lane % 4);
        if (feature >= a.features) p = 0;
        if (feature + 1 >= a.features) q = 0;
      }
      phi[g / 2][g % 2 * 2 + half] = PackBf16(p, q);
    }
  }
}

// k of a tile becomes phi(k).
__device__ inline void ConvertKeys(const AttentionArgs& a, char* tile, int valid,
                                   const char (&projection)[2][kTileBytes]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) % kGroupThreads / 32 * 16 + lane / 4;
  Fragments phi;
  Features<true>(a, tile, valid, projection, phi);
  GroupSync(static_cast<int>(threadIdx.x) / kGroupThreads);  // nobody reads k any more
#pragma unroll
  for (int g = 0; g < kWidth / 8; ++g) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      *reinterpret_cast<uint32_t*>(tile + SwizzledByte(row + 8 * half, g) + 4 * (lane % 4)) =
          phi[g / 2][g % 2 * 2 + half];
    }
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace longwave::attention::cuda::fused

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_FEATURES_CUH_
