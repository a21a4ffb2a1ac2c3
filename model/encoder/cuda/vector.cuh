#ifndef LONGWAVE_MODEL_ENCODER_CUDA_VECTOR_CUH_
#define LONGWAVE_MODEL_ENCODER_CUDA_VECTOR_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

#include "model/encoder/cuda/kernels.h"

// 16 bytes of a row at a time, and one number at a time for widths that do not divide.
namespace longwave::encoder::cuda {

__device__ inline float ToFloat(float value) { return value; }
__device__ inline float ToFloat(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ inline float ToFloat(__half value) { return __half2float(value); }

template <typename T>
__device__ T FromFloat(float value);
template <>
__device__ inline float FromFloat<float>(float value) {
  return value;
}
template <>
__device__ inline __nv_bfloat16 FromFloat<__nv_bfloat16>(float value) {
  return __float2bfloat16_rn(value);
}
template <>
__device__ inline __half FromFloat<__half>(float value) {
  return __float2half_rn(value);
}

// Lanes numbers of T side by side.
template <typename T, int Lanes>
struct alignas(sizeof(T) * Lanes) Vector {
  T values[Lanes];
};

template <int Lanes, typename T>
__device__ void LoadFloats(const T* source, float (&target)[Lanes]) {
  const auto vector = *reinterpret_cast<const Vector<T, Lanes>*>(source);
#pragma unroll
  for (int i = 0; i < Lanes; ++i) target[i] = ToFloat(vector.values[i]);
}

// float32 parameters, read by every row, so from the cache. 16 bytes at a time where Lanes allow.
template <int Lanes>
__device__ void LoadParameters(const float* __restrict__ source, float (&target)[Lanes]) {
  if constexpr (Lanes % 4 == 0) {
#pragma unroll
    for (int i = 0; i < Lanes; i += 4) {
      const float4 four = __ldg(reinterpret_cast<const float4*>(source + i));
      target[i] = four.x;
      target[i + 1] = four.y;
      target[i + 2] = four.z;
      target[i + 3] = four.w;
    }
  } else {
#pragma unroll
    for (int i = 0; i < Lanes; ++i) target[i] = __ldg(source + i);
  }
}

template <int Lanes, typename T>
__device__ void StoreFloats(const float (&source)[Lanes], T* target) {
  Vector<T, Lanes> vector;
#pragma unroll
  for (int i = 0; i < Lanes; ++i) vector.values[i] = FromFloat<T>(source[i]);
  *reinterpret_cast<Vector<T, Lanes>*>(target) = vector;
}

// Calls launch(T()) with the C++ type of `type`.
template <typename Launch>
cudaError_t DispatchType(Type type, Launch launch) {
  switch (type) {
    case Type::kFloat32:
      return launch(float());
    case Type::kBFloat16:
      return launch(__nv_bfloat16());
    case Type::kFloat16:
      return launch(__half());
  }
  return cudaErrorInvalidValue;
}

}  // namespace longwave::encoder::cuda

#endif  // LONGWAVE_MODEL_ENCODER_CUDA_VECTOR_CUH_
