// Rows of the embedding table, with positions added. One warp writes a token's row.
#include "model/encoder/cuda/vector.cuh"

namespace longwave::encoder::cuda {
namespace {

constexpr int kWarp = 32;
constexpr int kWarpsPerBlock = 8;

// How far into its sequence a token is; 0 behind the last sequence.
__device__ int64_t PositionOf(int64_t token, const int32_t* __restrict__ offsets,
                              int64_t sequences) {
  if (token >= offsets[sequences]) return 0;
  int64_t low = 0, high = sequences;  // offsets[low] <= token < offsets[high]
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (offsets[middle] <= token) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return token - offsets[low];
}

template <typename T, int Lanes>
__global__ void __launch_bounds__(kWarp* kWarpsPerBlock)
    EmbedTokens(const int32_t* __restrict__ ids, const int32_t* __restrict__ offsets,
                int64_t sequences, const T* __restrict__ table, const T* __restrict__ positions,
                int64_t tokens, int width, T* __restrict__ out) {
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWarpsPerBlock + threadIdx.y;
  if (token >= tokens) return;
  const T* row = table + static_cast<int64_t>(ids[token]) * width;
  const T* position =
      positions == nullptr ? nullptr : positions + PositionOf(token, offsets, sequences) * width;
  for (int column = threadIdx.x * Lanes; column < width; column += kWarp * Lanes) {
    float values[Lanes];
    LoadFloats<Lanes>(row + column, values);
    if (position != nullptr) {
      float added[Lanes];
      LoadFloats<Lanes>(position + column, added);
#pragma unroll
      for (int i = 0; i < Lanes; ++i) values[i] += added[i];
    }
    StoreFloats<Lanes>(values, out + token * width + column);
  }
}

}  // namespace

cudaError_t LaunchEmbed(Type type, const int32_t* ids, const int32_t* offsets, int64_t sequences,
                        const void* table, const void* positions, int64_t tokens, int64_t width,
                        void* out, cudaStream_t stream) {
  if (tokens == 0) return cudaSuccess;
  return DispatchType(type, [&](auto t) {
    using T = decltype(t);
    constexpr int kLanes = 16 / sizeof(T);
    const dim3 threads(kWarp, kWarpsPerBlock);
    const auto blocks = static_cast<unsigned>((tokens + kWarpsPerBlock - 1) / kWarpsPerBlock);
    const auto run = [&](auto kernel) {
      kernel<<<blocks, threads, 0, stream>>>(ids, offsets, sequences, static_cast<const T*>(table),
                                             static_cast<const T*>(positions), tokens,
                                             static_cast<int>(width), static_cast<T*>(out));
      return cudaGetLastError();
    };
    return width % kLanes == 0 ? run(&EmbedTokens<T, kLanes>) : run(&EmbedTokens<T, 1>);
  });
}

}  // namespace longwave::encoder::cuda
