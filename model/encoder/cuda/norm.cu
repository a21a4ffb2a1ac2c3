// LayerNorm of rows. One warp holds a row in registers, so each number is read once and written
// once, and mean and variance take two exact passes over registers.
//
// Floor: tokens x width x 2 transfers over the memory's bandwidth.
#include "model/encoder/cuda/vector.cuh"

namespace longwave::encoder::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kWarpsPerBlock = 4;

__device__ float WarpSum(float value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  return value;
}

// Lanes: numbers in a load. Loads: by each thread of the warp; the row is at most
// kWarp * Lanes * Loads wide. x and out may be the same, so neither is __restrict__.
template <typename T, int Lanes, int Loads>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock)
    NormInRegisters(const T* x, const float* __restrict__ shift, const float* __restrict__ weight,
                    const float* __restrict__ bias, float eps, int64_t tokens, int width, T* out) {
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWarpsPerBlock + threadIdx.y;
  if (token >= tokens) return;
  const T* row = x + token * width;
  float values[Loads][Lanes];
#pragma unroll
  for (int l = 0; l < Loads; ++l) {
    const int column = (l * kWarp + threadIdx.x) * Lanes;
    if (column < width) {
      LoadFloats<Lanes>(row + column, values[l]);
    } else {
#pragma unroll
      for (int i = 0; i < Lanes; ++i) values[l][i] = 0;
    }
  }
  float sum = 0;
#pragma unroll
  for (int l = 0; l < Loads; ++l) {
    const int column = (l * kWarp + threadIdx.x) * Lanes;
    if (shift != nullptr && column < width) {
      float added[Lanes];
      LoadParameters<Lanes>(shift + column, added);
#pragma unroll
      for (int i = 0; i < Lanes; ++i) values[l][i] += added[i];
    }
#pragma unroll
    for (int i = 0; i < Lanes; ++i) sum += values[l][i];
  }
  const float mean = WarpSum(sum) / width;
  float squares = 0;
#pragma unroll
  for (int l = 0; l < Loads; ++l) {
    if ((l * kWarp + threadIdx.x) * Lanes < width) {
#pragma unroll
      for (int i = 0; i < Lanes; ++i) {
        const float deviation = values[l][i] - mean;
        squares += deviation * deviation;
      }
    }
  }
  const float scale = rsqrtf(WarpSum(squares) / width + eps);
#pragma unroll
  for (int l = 0; l < Loads; ++l) {
    const int column = (l * kWarp + threadIdx.x) * Lanes;
    if (column < width) {
      float factors[Lanes], terms[Lanes];
      LoadParameters<Lanes>(weight + column, factors);
      LoadParameters<Lanes>(bias + column, terms);
#pragma unroll
      for (int i = 0; i < Lanes; ++i) {
        values[l][i] = (values[l][i] - mean) * scale * factors[i] + terms[i];
      }
      StoreFloats<Lanes>(values[l], out + token * width + column);
    }
  }
}

// Any width: the row is read three times, from the cache after the first.
template <typename T>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock)
    NormOfAnyWidth(const T* x, const float* __restrict__ shift, const float* __restrict__ weight,
                   const float* __restrict__ bias, float eps, int64_t tokens, int width, T* out) {
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWarpsPerBlock + threadIdx.y;
  if (token >= tokens) return;
  const T* row = x + token * width;
  const auto value = [&](int column) {
    return ToFloat(row[column]) + (shift == nullptr ? 0.0f : shift[column]);
  };
  float sum = 0;
  for (int column = threadIdx.x; column < width; column += kWarp) sum += value(column);
  const float mean = WarpSum(sum) / width;
  float squares = 0;
  for (int column = threadIdx.x; column < width; column += kWarp) {
    const float deviation = value(column) - mean;
    squares += deviation * deviation;
  }
  const float scale = rsqrtf(WarpSum(squares) / width + eps);
  for (int column = threadIdx.x; column < width; column += kWarp) {
    out[token * width + column] =
        FromFloat<T>((value(column) - mean) * scale * weight[column] + bias[column]);
  }
}

template <typename T>
cudaError_t Launch(const T* x, const float* shift, const float* weight, const float* bias,
                   float eps, int64_t tokens, int width, T* out, cudaStream_t stream) {
  constexpr int kLanes = 16 / sizeof(T);
  const dim3 threads(kWarp, kWarpsPerBlock);
  const auto blocks = static_cast<unsigned>((tokens + kWarpsPerBlock - 1) / kWarpsPerBlock);
  const auto run = [&](auto kernel) {
    kernel<<<blocks, threads, 0, stream>>>(x, shift, weight, bias, eps, tokens, width, out);
    return cudaGetLastError();
  };
  const int loads = (width + kWarp * kLanes - 1) / (kWarp * kLanes);
  if (width % kLanes != 0) return run(&NormOfAnyWidth<T>);
  if (loads == 1) return run(&NormInRegisters<T, kLanes, 1>);
  if (loads == 2) return run(&NormInRegisters<T, kLanes, 2>);
  if (loads == 3) return run(&NormInRegisters<T, kLanes, 3>);
  if (loads == 4) return run(&NormInRegisters<T, kLanes, 4>);
  if (loads <= 6) return run(&NormInRegisters<T, kLanes, 6>);
  if (loads <= 8) return run(&NormInRegisters<T, kLanes, 8>);
  return run(&NormOfAnyWidth<T>);
}

}  // namespace

cudaError_t LaunchNorm(Type type, const void* x, const float* shift, const float* weight,
                       const float* bias, float eps, int64_t tokens, int64_t width, void* out,
                       cudaStream_t stream) {
  if (tokens == 0) return cudaSuccess;
  return DispatchType(type, [&](auto t) {
    using T = decltype(t);
    return Launch(static_cast<const T*>(x), shift, weight, bias, eps, tokens,
                  static_cast<int>(width), static_cast<T*>(out), stream);
  });
}

}  // namespace longwave::encoder::cuda
