#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DEVICE_TYPES_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DEVICE_TYPES_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "model/attention/cuda/attention_args.h"

namespace longwave::attention::cuda {

__device__ inline double ToDouble(double x) { return x; }
__device__ inline double ToDouble(float x) { return x; }
__device__ inline double ToDouble(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ inline double ToDouble(__half x) { return __half2float(x); }

template <typename T>
__device__ inline T FromDouble(double x) {
  return static_cast<T>(x);
}
template <>
__device__ inline __nv_bfloat16 FromDouble(double x) {
  return __double2bfloat16(x);
}
template <>
__device__ inline __half FromDouble(double x) {
  return __double2half(x);
}

// Calls fn(T{}) with the element type of a dtype.
template <typename Fn>
cudaError_t Dispatch(DType dtype, const Fn& fn) {
  switch (dtype) {
    case DType::kFloat:
      return fn(float{});
    case DType::kBFloat16:
      return fn(__nv_bfloat16{});
    case DType::kHalf:
      return fn(__half{});
    case DType::kDouble:
      return fn(double{});
  }
  return cudaErrorInvalidValue;
}

// Tokens [begin, end) of one sequence.
struct Span {
  int begin;
  int end;
  __device__ int length() const { return end - begin; }
};

__device__ inline Span SpanOf(const SequenceView& sequences, int s) {
  if (sequences.cu_seqlens == nullptr) return {s * sequences.length, (s + 1) * sequences.length};
  return {sequences.cu_seqlens[s], sequences.cu_seqlens[s + 1]};
}

// Whether this launch computes sequences of so many tokens.
__device__ inline bool Takes(const SequenceView& sequences, int length) {
  return length >= sequences.min_length && length <= sequences.max_length;
}

// The sequence that a token belongs to, empty ones skipped.
__device__ inline int SequenceOf(const SequenceView& sequences, int token) {
  if (sequences.cu_seqlens == nullptr) return token / sequences.length;
  int low = 0, high = sequences.count;  // cu_seqlens[low] <= token < cu_seqlens[high]
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (sequences.cu_seqlens[middle] <= token ? low : high) = middle;
  }
  return low;
}

// Raw b for query i and key j of one sequence, head h.
__device__ inline float BiasAt(const BiasView& bias, int head, int i, int j) {
  const int x_edge = bias.columns / 2, y_edge = bias.rows / 2;
  int dy = 0, dx = j - i;
  if (bias.grid_width > 0) {
    dy = j / bias.grid_width - i / bias.grid_width;
    dx = j % bias.grid_width - i % bias.grid_width;
  }
  if (bias.causal && j > i) return -INFINITY;
  dx = max(-x_edge, min(dx, x_edge));
  dy = max(-y_edge, min(dy, y_edge));
  return bias
      .data[(static_cast<int64_t>(head) * bias.rows + dy + y_edge) * bias.columns + dx + x_edge];
}

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DEVICE_TYPES_CUH_
