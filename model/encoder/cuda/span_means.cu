// Means over spans of tokens. A block adds up at most kSpanTokens tokens of one span; longer spans
// are the sums of such parts, in order. So the steps of a row depend on its own length alone, and
// no two blocks add to one number.
#include "model/encoder/cuda/vector.cuh"

namespace longwave::encoder::cuda {
namespace {

constexpr int kColumns = 32;  // of a block, one per thread in x
constexpr int kRows = 8;      // tokens at a time, one per thread in y

// target: the mean where a span is one part, else its partial sums.
template <typename T>
__global__ void __launch_bounds__(kColumns* kRows)
    SumParts(const T* __restrict__ hidden, const int64_t* __restrict__ spans, int parts, int width,
             bool divide, float* __restrict__ target) {
  const int64_t row = blockIdx.x / parts;
  const int part = blockIdx.x % parts;
  const int column = blockIdx.y * kColumns + threadIdx.x;
  const int64_t begin = spans[2 * row], count = spans[2 * row + 1];
  const int64_t first = part * kSpanTokens;
  if (first >= count) return;
  const int64_t last = first + kSpanTokens < count ? first + kSpanTokens : count;
  float sum = 0;
  if (column < width) {
    for (int64_t t = first + threadIdx.y; t < last; t += kRows) {
      sum += ToFloat(hidden[(begin + t) * width + column]);
    }
  }
  __shared__ float sums[kRows][kColumns];
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || column >= width) return;
  for (int i = 1; i < kRows; ++i) sum += sums[i][threadIdx.x];
  target[(row * parts + part) * width + column] = divide ? sum / static_cast<float>(count) : sum;
}

__global__ void __launch_bounds__(kColumns* kRows)
    AddParts(const float* __restrict__ partial, const int64_t* __restrict__ spans, int parts,
             int width, float* __restrict__ means) {
  const int64_t row = blockIdx.x;
  const int column = blockIdx.y * kColumns * kRows + threadIdx.x;
  if (column >= width) return;
  const int64_t count = spans[2 * row + 1];
  const int64_t used = (count + kSpanTokens - 1) / kSpanTokens;
  double sum = 0;
  for (int64_t part = 0; part < used; ++part) {
    sum += partial[(row * parts + part) * width + column];
  }
  means[row * width + column] = static_cast<float>(sum / static_cast<double>(count));
}

}  // namespace

cudaError_t LaunchSpanMeans(Type type, const void* hidden, const int64_t* spans, int64_t rows,
                            int64_t parts, int64_t width, float* partial, float* means,
                            cudaStream_t stream) {
  if (rows == 0) return cudaSuccess;
  const bool one_part = parts == 1;
  const dim3 threads(kColumns, kRows);
  const dim3 blocks(static_cast<unsigned>(rows * parts),
                    static_cast<unsigned>((width + kColumns - 1) / kColumns));
  const cudaError_t error = DispatchType(type, [&](auto t) {
    using T = decltype(t);
    SumParts<<<blocks, threads, 0, stream>>>(static_cast<const T*>(hidden), spans,
                                             static_cast<int>(parts), static_cast<int>(width),
                                             one_part, one_part ? means : partial);
    return cudaGetLastError();
  });
  if (error != cudaSuccess || one_part) return error;
  constexpr int kThreads = kColumns * kRows;
  const dim3 sums(static_cast<unsigned>(rows),
                  static_cast<unsigned>((width + kThreads - 1) / kThreads));
  AddParts<<<sums, kThreads, 0, stream>>>(partial, spans, static_cast<int>(parts),
                                          static_cast<int>(width), means);
  return cudaGetLastError();
}

}  // namespace longwave::encoder::cuda
