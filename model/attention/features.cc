#include "model/attention/features.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>

#include <cmath>
#include <vector>

#include "model/attention/checkpoint.h"

namespace longwave::attention {
namespace {

// Largest |log phi| for which float32 exponents without maxima keep to the error promised.
constexpr double kSmallExponent = 12;

// Smallest divisor of the normalisation.
constexpr double kNormEps = 1e-12;

// scale * x / max(|x|, eps), or scale * x, in `dtype`: [heads, tokens, head_dim] of [tokens, heads,
// head_dim].
at::Tensor Prepare(const at::Tensor& x, const FeatureOptions& options, at::ScalarType dtype) {
  at::Tensor y = x.permute({1, 0, 2}).to(dtype);
  if (!options.normalize) return y * options.scale;
  // In float64, because squares of float32 numbers may leave float32's range.
  const at::Tensor norm =
      at::linalg_vector_norm(y, 2, {-1}, /*keepdim=*/true, /*dtype=*/at::kDouble);
  return y * norm.clamp_min_(kNormEps).reciprocal_().mul_(options.scale).to(dtype);
}

// |x|^2 / 2: [heads, tokens, 1].
at::Tensor HalfSquare(const at::Tensor& x) { return x.square().sum(-1, true).div_(2); }

Features Positive(const at::Tensor& q, const at::Tensor& k, const at::Tensor& w_transposed,
                  const std::vector<Sequence>& sequences, bool take_maxima) {
  // A query's own factors, -|q|^2/2 and 1/sqrt(m) among them, cancel.
  at::Tensor log_q = at::matmul(q, w_transposed);
  Checkpoint();
  at::Tensor log_k = at::matmul(k, w_transposed).sub_(HalfSquare(k));
  Checkpoint();
  if (take_maxima) {
    for (const Sequence& sequence : sequences) {
      if (sequence.length == 0) continue;
      at::Tensor keys = log_k.narrow(1, sequence.begin, sequence.length);
      const at::Tensor largest = keys.amax(1, /*keepdim=*/true);
      keys.sub_(largest);
      log_q.narrow(1, sequence.begin, sequence.length).add_(largest);
    }
    log_q.sub_(log_q.amax(-1, /*keepdim=*/true));
    Checkpoint();
  }
  log_q.exp_();
  Checkpoint();
  return {log_q, log_k.exp_()};
}

Features Trigonometric(const at::Tensor& q, const at::Tensor& k, const at::Tensor& w_transposed,
                       const std::vector<Sequence>& sequences) {
  const auto waves = [&](const at::Tensor& x) {
    const at::Tensor angle = at::matmul(x, w_transposed);
    return at::cat({angle.sin(), angle.cos()}, -1);
  };
  at::Tensor log_k = HalfSquare(k);
  for (const Sequence& sequence : sequences) {
    if (sequence.length == 0) continue;
    at::Tensor keys = log_k.narrow(1, sequence.begin, sequence.length);
    keys.sub_(keys.amax(1, /*keepdim=*/true));
  }
  const at::Tensor phi_q = waves(q);
  Checkpoint();
  return {phi_q, waves(k).mul_(log_k.exp_())};
}

Features Compute(const Problem& problem, int64_t token_begin,
                 const std::vector<Sequence>& sequences, int64_t tokens, int64_t head_begin,
                 int64_t head_end, at::ScalarType dtype, bool take_maxima) {
  const auto part = [&](const at::Tensor& x) {
    return Prepare(x.narrow(0, token_begin, tokens).slice(1, head_begin, head_end),
                   problem.features, dtype);
  };
  at::Tensor w = problem.projection;
  if (w.size(0) > 1) w = w.slice(0, head_begin, head_end);
  w = w.to(dtype).transpose(1, 2);
  const at::Tensor q = part(problem.q);
  Checkpoint();
  const at::Tensor k = part(problem.k);
  Checkpoint();
  return problem.features.map == FeatureMap::kPrf ? Positive(q, k, w, sequences, take_maxima)
                                                  : Trigonometric(q, k, w, sequences);
}

// Whether |log phi| is surely small: normalised inputs, moderate scale and projection. NaN says no.
bool SmallExponents(const Problem& problem) {
  const double scale = std::abs(problem.features.scale);
  if (!problem.features.normalize || scale * scale / 2 > kSmallExponent) return false;
  const double longest = at::linalg_vector_norm(problem.projection, 2, {-1}).max().item<double>();
  return scale * longest <= kSmallExponent;
}

}  // namespace

Features ComputeFeatures(const Part& part) {
  const int64_t begin = part.sequences.front().begin;
  std::vector<Sequence> sequences = part.sequences;  // relative to the part's first token
  for (Sequence& sequence : sequences) sequence.begin -= begin;
  const int64_t tokens = sequences.back().begin + sequences.back().length;
  const bool small = SmallExponents(*part.problem);
  Features features = Compute(*part.problem, begin, sequences, tokens, part.head_begin,
                              part.head_end, small ? at::kFloat : at::kDouble, !small);
  return {features.q.to(at::kFloat).contiguous(), features.k.to(at::kFloat).contiguous()};
}

Features ComputeFeatures64(const Problem& problem, const Sequence& sequence, int64_t head) {
  Features features = Compute(problem, sequence.begin, {{0, sequence.length}}, sequence.length,
                              head, head + 1, at::kDouble, /*take_maxima=*/true);
  return {features.q[0].contiguous(), features.k[0].contiguous()};
}

}  // namespace longwave::attention
