#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_MMA_TILES_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_MMA_TILES_CUH_

#include "model/attention/cuda/mma.cuh"
#include "model/attention/cuda/structured/blocks.cuh"

// What the key and the query kernel share: tiles of kMmaSize columns in shared memory and phi of
// the rows of a warp.
namespace longwave::attention::cuda {

inline constexpr int kThreads = 128;  // four warps of 32 tokens
inline constexpr int kWarpTiles = 2;  // 16-row tiles of a warp
// Rows of 144 bytes: eight of them cover all banks. The eight extra columns of values are 1, 0, ...
inline constexpr int kStride = kMmaSize + 8;
inline constexpr int kValueTiles = kStride / 8;

using bf16 = __nv_bfloat16;

// Begins to copy rows [0, kRows) of a token tensor, zeros beyond `rows` and `columns`.
template <int kRows>
__device__ inline void CopyTokens(bf16* tile, const TokenView& view, int head, int64_t first,
                                  int rows, int columns) {
  const bf16* const from =
      static_cast<const bf16*>(view.data) + first * view.token_stride + head * view.head_stride;
#pragma unroll
  for (int c = static_cast<int>(threadIdx.x); c < kRows * (kMmaSize / 8); c += kThreads) {
    const int row = c / (kMmaSize / 8), column = c % (kMmaSize / 8) * 8;
    const bool valid = row < rows && column < columns;
    CopyAsync16(tile + row * kStride + column,
                from + (valid ? row * view.token_stride + column : 0), valid);
  }
}

// The extra columns of a value tile: 1, 0, ..., so that the product with it also sums.
template <int kRows>
__device__ inline void FillOnes(bf16* tile) {
  for (int row = static_cast<int>(threadIdx.x); row < kRows; row += kThreads) {
    *reinterpret_cast<uint4*>(tile + row * kStride + kMmaSize) = {0x3f80U, 0, 0, 0};
  }
}

// W as the sum of two bfloat16 tiles [feature][dim]. Returns whether a row of this thread's is
// longer than max_norm.
__device__ inline bool LoadProjection(const AttentionArgs& args, int head, float max_norm,
                                      bf16* high, bf16* low) {
  const int feature = static_cast<int>(threadIdx.x) / 2;
  const int begin = static_cast<int>(threadIdx.x) % 2 * (kMmaSize / 2);
  const float* const row = args.projection + head * args.projection_head_stride +
                           static_cast<int64_t>(feature) * args.projection_row_stride;
  float square = 0;
#pragma unroll 8
  for (int e = begin; e < begin + kMmaSize / 2; ++e) {
    const float w = feature < args.features && e < args.dim ? row[e] : 0;
    square += w * w;
    const bf16 top = __float2bfloat16(w);
    high[feature * kStride + e] = top;
    low[feature * kStride + e] = __float2bfloat16(w - __bfloat162float(top));
  }
  square += __shfl_xor_sync(~0U, square, 1);
  return !(square <= max_norm * max_norm);
}

// log phi of 16 rows of a tile as the accumulators of an 16 x kMmaSize product, without |y|^2 / 2,
// which `half_square` receives for rows l / 4 and l / 4 + 8.
__device__ inline void LogFeatures(const AttentionArgs& args, const bf16* rows, const bf16* high,
                                   const bf16* low, float (&log)[kMmaSize / 8][4],
                                   float (&half_square)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (auto& tile : log) tile[0] = tile[1] = tile[2] = tile[3] = 0;
  float square[2] = {0, 0};
#pragma unroll
  for (int k = 0; k < kMmaSize / 16; ++k) {
    uint32_t x[4];
    LoadTiles(x, rows + lane % 16 * kStride + k * 16 + lane / 16 * 8);
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const float2 pair = UnpackBf16(x[r]);
      square[r % 2] += pair.x * pair.x + pair.y * pair.y;
    }
#pragma unroll
    for (int f = 0; f < kMmaSize / 16; ++f) {
      const int offset = (f * 16 + lane % 8 + lane / 16 * 8) * kStride + k * 16 + lane / 8 % 2 * 8;
      uint32_t w[4];
      LoadTiles(w, high + offset);
      MultiplyAdd(log[2 * f], x, w[0], w[1]);
      MultiplyAdd(log[2 * f + 1], x, w[2], w[3]);
      LoadTiles(w, low + offset);
      MultiplyAdd(log[2 * f], x, w[0], w[1]);
      MultiplyAdd(log[2 * f + 1], x, w[2], w[3]);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    square[half] += __shfl_xor_sync(~0U, square[half], 1);
    square[half] += __shfl_xor_sync(~0U, square[half], 2);
    float factor = args.scale;
    if (args.normalize) factor /= fmaxf(sqrtf(square[half]), 1e-12F);
    // Beyond float32's range: NaN, so that the row is found.
    if (!(square[half] < 1e37F)) factor = __int_as_float(0x7fffffff);
    half_square[half] = 0.5F * square[half] * factor * factor;
#pragma unroll
    for (auto& tile : log) {
      tile[2 * half] *= factor;
      tile[2 * half + 1] *= factor;
    }
  }
}

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_MMA_TILES_CUH_
