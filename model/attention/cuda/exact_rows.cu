#include <cmath>

#include "model/attention/cuda/device_types.cuh"
#include "model/attention/cuda/early_launch.cuh"
#include "model/attention/cuda/exact_rows.h"

namespace longwave::attention::cuda {
namespace {

constexpr int kThreads = 128;
constexpr double kNormEps = 1e-12;

// Blocks that share a list of rows.
constexpr int kListBlocks = 528;

// log phi, less what cancels, of one token: for the query w_r . q, for keys w_r . k - |k|^2 / 2.
// trf: the angle w_r . x.
struct TokenScale {
  double factor;       // y = factor x
  double half_square;  // |y|^2 / 2
};

template <typename T>
__device__ TokenScale ScaleOf(const AttentionArgs& args, const T* x) {
  double square = 0;
  for (int e = 0; e < args.dim; ++e) square += ToDouble(x[e]) * ToDouble(x[e]);
  double factor = args.scale;
  if (args.normalize) factor /= fmax(sqrt(square), kNormEps);
  return {factor, square * factor * factor / 2};
}

template <typename T>
__device__ double Dot(const AttentionArgs& args, const float* w, const T* x, double factor) {
  double sum = 0;
  for (int e = 0; e < args.dim; ++e) sum += static_cast<double>(w[e]) * (ToDouble(x[e]) * factor);
  return sum;
}

template <typename Combine>
__device__ double BlockReduce(double value, double* scratch, const Combine& combine) {
  scratch[threadIdx.x] = value;
  __syncthreads();
  for (int half = kThreads / 2; half > 0; half /= 2) {
    if (threadIdx.x < half) {
      scratch[threadIdx.x] = combine(scratch[threadIdx.x], scratch[threadIdx.x + half]);
    }
    __syncthreads();
  }
  const double result = scratch[0];
  __syncthreads();
  return result;
}

// The weight of a key as sign(s) exp(log).
struct Weight {
  double log;
  double factor;
};

template <typename T>
__device__ Weight WeightOf(const AttentionArgs& args, const float* w, const double* query,
                           const T* key, double bias) {
  const TokenScale scale = ScaleOf(args, key);
  if (args.trigonometric) {
    double sum = 0;
    for (int r = 0; r < args.features; ++r) {
      sum += cos(query[r] - Dot(args, w + r * args.projection_row_stride, key, scale.factor));
    }
    return {bias + scale.half_square, sum};
  }
  double high = -INFINITY, sum = 0;
  for (int r = 0; r < args.features; ++r) {
    const double log = query[r] + Dot(args, w + r * args.projection_row_stride, key, scale.factor);
    if (log <= high) {
      sum += exp(log - high);
    } else {
      sum = sum * exp(high - log) + 1;
      high = log;
    }
  }
  return {bias + high - scale.half_square, sum};
}

template <typename T>
__device__ void SolveRow(const AttentionArgs& args, int token, int head, double* shared) {
  const Span span = SpanOf(args.sequences, SequenceOf(args.sequences, token));
  if (!Takes(args.sequences, span.length())) return;
  double* const query = shared;                   // [features]
  double* const sums = query + args.features;     // [value_dim]
  double* const weights = sums + args.value_dim;  // [kThreads]
  double* const scratch = weights + kThreads;     // [kThreads]
  const float* const w = args.projection + head * args.projection_head_stride;
  const auto row = [head](const TokenView& view, int64_t t) {
    return static_cast<T*>(view.data) + t * view.token_stride + head * view.head_stride;
  };

  const T* const q = row(args.q, token);
  const TokenScale scale = ScaleOf(args, q);
  for (int r = threadIdx.x; r < args.features; r += kThreads) {
    query[r] = Dot(args, w + r * args.projection_row_stride, q, scale.factor);
  }
  for (int e = threadIdx.x; e < args.value_dim; e += kThreads) sums[e] = 0;
  __syncthreads();

  double high = -INFINITY, denominator = 0;
  const int end = args.bias.causal ? token + 1 : span.end;
  for (int begin = span.begin; begin < end; begin += kThreads) {
    const int j = begin + static_cast<int>(threadIdx.x);
    Weight weight{-INFINITY, 0};
    if (j < end) {
      const double b = BiasAt(args.bias, head, token - span.begin, j - span.begin);
      if (b > -INFINITY) weight = WeightOf<T>(args, w, query, row(args.k, j), b);
    }
    const double tile_high =
        BlockReduce(weight.log, scratch, [](double a, double b) { return fmax(a, b); });
    if (tile_high == -INFINITY) continue;
    const double new_high = fmax(high, tile_high);
    const double keep = exp(high - new_high);
    high = new_high;
    const double value = weight.log == -INFINITY ? 0 : weight.factor * exp(weight.log - high);
    weights[threadIdx.x] = value;
    denominator =
        denominator * keep + BlockReduce(value, scratch, [](double a, double b) { return a + b; });
    const int keys = min(kThreads, end - begin);
    for (int e = threadIdx.x; e < args.value_dim; e += kThreads) {
      double sum = sums[e] * keep;
      for (int t = 0; t < keys; ++t) {
        // A forbidden key says nothing, not even NaN.
        if (weights[t] != 0) sum += weights[t] * ToDouble(row(args.v, begin + t)[e]);
      }
      sums[e] = sum;
    }
    __syncthreads();
  }
  T* const out = row(args.out, token);
  for (int e = threadIdx.x; e < args.value_dim; e += kThreads) {
    out[e] = FromDouble<T>(sums[e] / denominator);
  }
}

template <typename T>
__global__ void __launch_bounds__(kThreads) AllRows(const __grid_constant__ AttentionArgs args) {
  extern __shared__ double shared[];
  WaitForPredecessors();
  SolveRow<T>(args, static_cast<int>(blockIdx.x), args.head_begin + static_cast<int>(blockIdx.y),
              shared);
}

template <typename T>
__global__ void __launch_bounds__(kThreads)
    ListedRows(const __grid_constant__ AttentionArgs args, int heads, RowList list) {
  extern __shared__ double shared[];
  WaitForPredecessors();
  const int count = *list.count;
  for (int r = static_cast<int>(blockIdx.x); r < count; r += static_cast<int>(gridDim.x)) {
    SolveRow<T>(args, static_cast<int>(list.rows[r] / heads),
                static_cast<int>(list.rows[r] % heads), shared);
    __syncthreads();
  }
}

}  // namespace

cudaError_t LaunchExactRows(const AttentionArgs& args, int heads, const RowList* list,
                            cudaStream_t stream) {
  const size_t bytes = (args.features + args.value_dim + 2 * kThreads) * sizeof(double);
  return Dispatch(args.dtype, [&](auto element) {
    using T = decltype(element);
    const auto launch = [&](auto kernel, dim3 grid, auto... rest) {
      if (bytes > 48 * 1024) {
        const cudaError_t error = cudaFuncSetAttribute(
            kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes));
        if (error != cudaSuccess) return error;
      }
      return LaunchEarly(kernel, grid, kThreads, bytes, stream, args, rest...);
    };
    if (list != nullptr) return launch(ListedRows<T>, kListBlocks, heads, *list);
    if (args.sequences.tokens == 0) return cudaSuccess;
    return launch(AllRows<T>, dim3(static_cast<unsigned>(args.sequences.tokens),
                                   static_cast<unsigned>(args.head_end - args.head_begin)));
  });
}

}  // namespace longwave::attention::cuda
