#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_EXACT_ROWS_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_EXACT_ROWS_CUH_

#include <cmath>

#include "model/attention/cuda/device_types.cuh"

// One row of the output from the formula in float64 (exact_rows.h), by a team of threads.
namespace longwave::attention::cuda::exact {

// Threads that compute a row together.
constexpr int kTeamThreads = 128;
constexpr double kNormEps = 1e-12;

// A team: a thread block, or a warpgroup with a named barrier of its own.
struct Team {
  int thread;   // of kTeamThreads
  int barrier;  // 0 to 15
  __device__ void Sync() const {
    asm volatile("barrier.cta.sync %0, %1;" ::"r"(barrier), "n"(kTeamThreads) : "memory");
  }
};

// Bytes of shared memory that a team needs, aligned to 8.
__host__ __device__ constexpr size_t ScratchBytes(int features, int value_dim) {
  return (features + value_dim + 2 * kTeamThreads) * sizeof(double);
}

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
__device__ double Reduce(const Team& team, double value, double* scratch, const Combine& combine) {
  scratch[team.thread] = value;
  team.Sync();
  for (int half = kTeamThreads / 2; half > 0; half /= 2) {
    if (team.thread < half) {
      scratch[team.thread] = combine(scratch[team.thread], scratch[team.thread + half]);
    }
    team.Sync();
  }
  const double result = scratch[0];
  team.Sync();
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

// Writes the row of one token and head, unless its sequence is not this launch's. shared:
// ScratchBytes, free again once the team has met.
template <typename T>
__device__ void SolveRow(const AttentionArgs& args, const Team& team, int token, int head,
                         double* shared) {
  const Span span = SpanOf(args.sequences, SequenceOf(args.sequences, token));
  if (!Takes(args.sequences, span.length())) return;
  double* const query = shared;                    // [features]
  double* const sums = query + args.features;      // [value_dim]
  double* const weights = sums + args.value_dim;   // [kTeamThreads]
  double* const scratch = weights + kTeamThreads;  // [kTeamThreads]
  const float* const w = args.projection + head * args.projection_head_stride;
  const auto row = [head](const TokenView& view, int64_t t) {
    return static_cast<T*>(view.data) + t * view.token_stride + head * view.head_stride;
  };

  const T* const q = row(args.q, token);
  const TokenScale scale = ScaleOf(args, q);
  for (int r = team.thread; r < args.features; r += kTeamThreads) {
    query[r] = Dot(args, w + r * args.projection_row_stride, q, scale.factor);
  }
  for (int e = team.thread; e < args.value_dim; e += kTeamThreads) sums[e] = 0;
  team.Sync();

  double high = -INFINITY, denominator = 0;
  const int end = args.bias.causal ? token + 1 : span.end;
  for (int begin = span.begin; begin < end; begin += kTeamThreads) {
    const int j = begin + team.thread;
    Weight weight{-INFINITY, 0};
    if (j < end) {
      const double b = BiasAt(args.bias, head, token - span.begin, j - span.begin);
      if (b > -INFINITY) weight = WeightOf<T>(args, w, query, row(args.k, j), b);
    }
    const double tile_high =
        Reduce(team, weight.log, scratch, [](double a, double b) { return fmax(a, b); });
    if (tile_high == -INFINITY) continue;
    const double new_high = fmax(high, tile_high);
    const double keep = exp(high - new_high);
    high = new_high;
    const double value = weight.log == -INFINITY ? 0 : weight.factor * exp(weight.log - high);
    weights[team.thread] = value;
    denominator =
        denominator * keep + Reduce(team, value, scratch, [](double a, double b) { return a + b; });
    const int keys = min(kTeamThreads, end - begin);
    for (int e = team.thread; e < args.value_dim; e += kTeamThreads) {
      double sum = sums[e] * keep;
      for (int t = 0; t < keys; ++t) {
        // A forbidden key says nothing, not even NaN.
        if (weights[t] != 0) sum += weights[t] * ToDouble(row(args.v, begin + t)[e]);
      }
      sums[e] = sum;
    }
    team.Sync();
  }
  T* const out = row(args.out, token);
  for (int e = team.thread; e < args.value_dim; e += kTeamThreads) {
    out[e] = FromDouble<T>(sums[e] / denominator);
  }
}

}  // namespace longwave::attention::cuda::exact

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_EXACT_ROWS_CUH_
