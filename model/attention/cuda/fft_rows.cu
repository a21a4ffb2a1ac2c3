#include <cfloat>
#include <cmath>
#include <cstdint>

#include "model/attention/cuda/device_types.cuh"
#include "model/attention/cuda/fft_args.h"
#include "model/attention/cuda/fft_channels.cuh"
#include "model/attention/fft_refusal.h"

// What becomes of the sums: rows whose denominator is small beside its error are listed, the others
// are the output.
namespace longwave::attention::cuda {
namespace {

constexpr int kThreads = 256;

// Blocks (rows, head). Replaces the square of a denominator's error by the error of the output that
// it lets expect, as a share of max|v|; infinity where float32 has lost too much.
__global__ void __launch_bounds__(kThreads) Judge(const __grid_constant__ FftArgs args) {
  const int head = static_cast<int>(blockIdx.y);
  const int i = static_cast<int>(blockIdx.x) * kThreads + threadIdx.x;
  const int length = SpanOf(args.attention.sequences, args.sequence).length();
  if (i >= min(length, args.capacity)) return;
  float2& denominator = args.denominators[static_cast<int64_t>(head) * args.capacity + i];
  const float size = fabsf(denominator.x);
  const float tiny =
      1e7F * FLT_MIN * static_cast<float>(length) * static_cast<float>(args.features);
  const float weights =
      args.weight_norms == nullptr ? 1 : args.weight_norms[args.attention.head_begin + head];
  // Numerators err as much again.
  const auto quotient = static_cast<float>(2 * kLargestOfMany);
  const float error = size >= tiny ? quotient * sqrtf(denominator.y) * (weights / size) : INFINITY;
  denominator.y = error;
  if (error <= args.allowed) return;  // NaN is in doubt
  atomicAdd(args.head_doubtful + head, 1);
  atomicMin(args.first_doubtful + head, i);
}

// Blocks (rows, head).
__global__ void __launch_bounds__(kThreads) List(const __grid_constant__ FftArgs args) {
  const AttentionArgs& a = args.attention;
  const int head = static_cast<int>(blockIdx.y);
  const int i = static_cast<int>(blockIdx.x) * kThreads + threadIdx.x;
  const Span span = SpanOf(a.sequences, args.sequence);
  if (!Takes(a.sequences, span.length()) || i >= min(span.length(), args.capacity)) return;
  const auto list = [&](int row) {
    const int at = atomicAdd(args.doubtful_count, 1);
    args.doubtful_rows[at] =
        static_cast<int64_t>(span.begin + row) * args.tensor_heads + a.head_begin + head;
  };
  // A captured graph may be replayed with a sequence that is longer than when it was captured.
  if (span.length() > args.capacity) {
    for (int row = i; row < span.length(); row += args.capacity) list(row);
    return;
  }
  if (args.head_doubtful[head] > args.most_doubtful) return;
  if (!(args.denominators[static_cast<int64_t>(head) * args.capacity + i].y <= args.allowed))
    list(i);
}

constexpr int kTokens = 64;  // of a block

// Blocks (tokens, head, 64 value channels).
template <typename T>
__global__ void __launch_bounds__(kThreads) Store(const __grid_constant__ FftArgs args) {
  __shared__ float block[kTokens][65];
  const AttentionArgs& a = args.attention;
  const Span span = SpanOf(a.sequences, args.sequence);
  if (!Takes(a.sequences, span.length())) return;
  const int local_head = static_cast<int>(blockIdx.y), head = a.head_begin + local_head;
  const int begin = static_cast<int>(blockIdx.x) * kTokens;
  const int end = min(span.length(), args.capacity);
  if (begin >= end) return;
  const int first = static_cast<int>(blockIdx.z) * 64;
  const int token = static_cast<int>(threadIdx.x) % kTokens;
  for (int p = static_cast<int>(threadIdx.x) / kTokens; p < 32; p += kThreads / kTokens) {
    const int pair = first / 2 + p;
    if (pair >= args.pairs || begin + token >= end) break;
    const int64_t at = static_cast<int64_t>(local_head) * args.capacity + begin + token;
    const float inverse = 1 / args.denominators[at].x;
    const float2 sum =
        args.numerators[(static_cast<int64_t>(local_head) * args.pairs + pair) * args.capacity +
                        begin + token];
    block[token][2 * p] = sum.x * inverse;
    block[token][2 * p + 1] = sum.y * inverse;
  }
  __syncthreads();
  const int column = static_cast<int>(threadIdx.x) % 64, e = first + column;
  if (e >= a.value_dim) return;
  const float scale = ChannelScale(args, local_head, e);
  for (int i = static_cast<int>(threadIdx.x) / 64; i < kTokens && begin + i < end;
       i += kThreads / 64) {
    static_cast<T*>(a.out.data)[static_cast<int64_t>(span.begin + begin + i) * a.out.token_stride +
                                head * a.out.head_stride + e] =
        FromDouble<T>(block[i][column] * scale);
  }
}

dim3 Grid(const FftArgs& args) {
  return dim3((args.capacity + kThreads - 1) / kThreads, args.heads);
}

}  // namespace

cudaError_t LaunchFftJudge(const FftArgs& args, cudaStream_t stream) {
  const size_t bytes = sizeof(int32_t) * static_cast<size_t>(args.heads);
  cudaError_t error = cudaMemsetAsync(args.head_doubtful, 0, bytes, stream);
  if (error != cudaSuccess) return error;
  // Later than any row.
  error = cudaMemsetAsync(args.first_doubtful, 0x7f, bytes, stream);
  if (error != cudaSuccess) return error;
  Judge<<<Grid(args), kThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

cudaError_t LaunchFftList(const FftArgs& args, cudaStream_t stream) {
  List<<<Grid(args), kThreads, 0, stream>>>(args);
  return cudaGetLastError();
}

cudaError_t LaunchFftStore(const FftArgs& args, cudaStream_t stream) {
  const dim3 grid((args.capacity + kTokens - 1) / kTokens, args.heads, (2 * args.pairs + 63) / 64);
  return Dispatch(args.attention.dtype, [&](auto element) {
    Store<decltype(element)><<<grid, kThreads, 0, stream>>>(args);
    return cudaGetLastError();
  });
}

}  // namespace longwave::attention::cuda
