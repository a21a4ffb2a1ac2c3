#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_OPERAND_PARTS_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_OPERAND_PARTS_CUH_

#include <cstdint>

#include "model/attention/cuda/device_types.cuh"

// Numbers of any dtype as sums of bfloat16 ones, eight channels of a token at a time.
namespace longwave::attention::cuda::operands {

// Parts of an input, of W, and of what is written.
template <typename T>
struct Parts;
template <>
struct Parts<__nv_bfloat16> {
  static constexpr int kInput = 1, kProjection = 2, kOutput = 1;
};
template <>
struct Parts<__half> {
  static constexpr int kInput = 2, kProjection = 2, kOutput = 2;
};
template <>
struct Parts<float> {
  static constexpr int kInput = 3, kProjection = 3, kOutput = 3;
};

__device__ inline float ToFloat(float x) { return x; }
__device__ inline float ToFloat(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline float ToFloat(__half x) { return __half2float(x); }

// x as a sum of bfloat16 numbers.
template <int kParts>
__device__ inline void Split(float x, __nv_bfloat16 (&parts)[kParts]) {
#pragma unroll
  for (int p = 0; p < kParts; ++p) {
    parts[p] = __float2bfloat16(x);
    x -= __bfloat162float(parts[p]);
  }
}

__device__ inline uint32_t Pack(__nv_bfloat16 low, __nv_bfloat16 high) {
  return static_cast<uint32_t>(__bfloat16_as_ushort(low)) |
         static_cast<uint32_t>(__bfloat16_as_ushort(high)) << 16;
}

// Eight channels of one token.
template <typename T>
struct alignas(16) Chunk {
  T values[8];
};

// Zeros past `valid`. aligned: `x` is a multiple of 16 bytes and `valid` of 8, so that loads need
// no branches and many can be under way.
template <typename T>
__device__ inline Chunk<T> LoadChunk(const T* x, int valid, bool aligned) {
  Chunk<T> chunk;
  constexpr int kWords = sizeof(chunk) / 16;
  uint4* const words = reinterpret_cast<uint4*>(&chunk);
  if (aligned) {
#pragma unroll
    for (int i = 0; i < kWords; ++i) {
      words[i] = valid > 0 ? __ldg(reinterpret_cast<const uint4*>(x) + i) : make_uint4(0, 0, 0, 0);
    }
  } else {
#pragma unroll
    for (int e = 0; e < 8; ++e) chunk.values[e] = e < valid ? x[e] : static_cast<T>(0.0f);
  }
  return chunk;
}

template <typename T>
inline bool Aligned(const TokenView& view, int channels) {
  const auto whole = [](int64_t elements) { return elements * sizeof(T) % 16 == 0; };
  return reinterpret_cast<uintptr_t>(view.data) % 16 == 0 && whole(view.token_stride) &&
         whole(view.head_stride) && channels % 8 == 0;
}

}  // namespace longwave::attention::cuda::operands

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_OPERAND_PARTS_CUH_
