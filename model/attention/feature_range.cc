#include "model/attention/feature_range.h"

#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/max.h>

#include <cmath>
#include <limits>

namespace longwave::attention {
namespace {

constexpr FeatureRange kUnbounded = {std::numeric_limits<double>::infinity(),
                                     std::numeric_limits<double>::infinity()};

FeatureRange OfLongest(double longest, double scale) {
  const double half_square = 0.5 * scale * scale;
  return {scale * longest + half_square, 2 * scale * longest + half_square};
}

}  // namespace

FeatureRange FeatureRange::Of(const at::Tensor& projection, bool normalize, double scale) {
  if (!normalize) return kUnbounded;
  const at::Tensor norms = at::linalg_vector_norm(projection, 2, {-1});
  return OfLongest(norms.numel() == 0 ? 0 : norms.max().item<double>(), std::abs(scale));
}

FeatureRange FeatureRange::Typical(int64_t head_dim, bool normalize, double scale) {
  if (!normalize) return kUnbounded;
  // The longest of some hundred normal vectors.
  return OfLongest(std::sqrt(static_cast<double>(head_dim)) + 3, std::abs(scale));
}

}  // namespace longwave::attention
