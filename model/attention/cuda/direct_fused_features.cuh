#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_FEATURES_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_FEATURES_CUH_

#include "model/attention/cuda/direct_hopper.cuh"
#include "model/attention/cuda/direct_tiles.cuh"
#include "model/attention/cuda/hopper_tiles.cuh"
#include "model/attention/cuda/token_maps.h"

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

// Zeros in the place of rows from `valid` on: they are the next sequence's. By a warpgroup.
__device__ inline void ClearRows(char* tile, int valid) {
#pragma unroll 1
  for (int x = static_cast<int>(threadIdx.x) % kGroupThreads; x < (kTile - valid) * 8;
       x += kGroupThreads) {
    *reinterpret_cast<uint4*>(tile + valid * kPanelRowBytes + x * 16) = uint4{0, 0, 0, 0};
  }
}

// W of a head on its way to two tiles [feature][channel]: what a thread of `kThreads` holds of it.
template <int kThreads>
class Projection {
 public:
  __device__ void Load(const AttentionArgs& a, int head) {
    const float* const w = a.projection + head * a.projection_head_stride;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const int feature = Index(i) / 8, piece = Index(i) % 8;
      if (feature < a.features && piece * 8 < a.dim) {
        const float4* const from =
            reinterpret_cast<const float4*>(w + feature * a.projection_row_stride + piece * 8);
        *reinterpret_cast<float4*>(x_[i]) = __ldg(from);
        *reinterpret_cast<float4*>(x_[i] + 4) = __ldg(from + 1);
      }
    }
  }

  __device__ void Store(char (&tiles)[2][kTileBytes]) {
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
#pragma unroll
      for (auto& tile : tiles) {
        uint4 part;
        part.x = TakePart(x_[i][0], x_[i][1]);
        part.y = TakePart(x_[i][2], x_[i][3]);
        part.z = TakePart(x_[i][4], x_[i][5]);
        part.w = TakePart(x_[i][6], x_[i][7]);
        *reinterpret_cast<uint4*>(tile + SwizzledByte(Index(i) / 8, Index(i) % 8)) = part;
      }
    }
  }

 private:
  static constexpr int kPieces = kWidth * 8 / kThreads;  // of eight channels
  static_assert(kPieces * kThreads == kWidth * 8);
  static __device__ int Index(int i) { return static_cast<int>(threadIdx.x) + i * kThreads; }

  float x_[kPieces][8] = {};
};

__device__ inline void GroupSync(int group) {
  asm volatile("barrier.cta.sync %0, 128;" ::"r"(group + 1) : "memory");
}

// phi of this warpgroup's 64 rows of a tile as left operands. Those of keys may be multiplied with
// those of queries: they have their norm in them, and are 0 from row `valid` on.
__device__ inline void Features(const AttentionArgs& a, const char* tile, bool keys, int valid,
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
    offset[half] = keys ? -0.5f * kLog2E * square * y * y : 0.0f;
    if (row + lane / 4 + 8 * half >= valid) offset[half] = -INFINITY;
  }
  hopper::WgmmaWait<0>();
  hopper::Hold(log);
#pragma unroll
  for (int g = 0; g < kWidth / 8; ++g) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      float p = Exp2(fmaf(log[4 * g + 2 * half], factor[half], offset[half]));
      float q = Exp2(fmaf(log[4 * g + 2 * half + 1], factor[half], offset[half]));
      if (a.features < kWidth) {
        const int feature = 8 * g + 2 * (lane % 4);
        if (feature >= a.features) p = 0;
        if (feature + 1 >= a.features) q = 0;
      }
      phi[g / 2][g % 2 * 2 + half] = PackBf16(p, q);
    }
  }
}

// Where this thread's piece of a left operand begins in a tile: of columns [16 s, 16 s + 16).
__device__ inline char* PieceOf(char* tile, int s) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int row = static_cast<int>(threadIdx.x) % kGroupThreads / 32 * 16 + lane % 16;
  return tile + SwizzledByte(row, 2 * s + lane / 16);
}

// q or k of a tile becomes phi of it. By a warpgroup.
__device__ inline void Convert(const AttentionArgs& a, char* tile, bool keys, int valid,
                               const char (&projection)[2][kTileBytes]) {
  Fragments phi;
  Features(a, tile, keys, valid, projection, phi);
  GroupSync(static_cast<int>(threadIdx.x) / kGroupThreads);  // nobody reads the tile any more
#pragma unroll
  for (int s = 0; s < kWidth / 16; ++s) {
    StoreTiles(PieceOf(tile, s), phi[s][0], phi[s][1], phi[s][2], phi[s][3]);
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

}  // namespace longwave::attention::cuda::fused

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_FEATURES_CUH_
