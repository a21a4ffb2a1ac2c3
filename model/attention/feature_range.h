#ifndef LONGWAVE_MODEL_ATTENTION_FEATURE_RANGE_H_
#define LONGWAVE_MODEL_ATTENTION_FEATURE_RANGE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace longwave::attention {

// How far prf features can lie apart before any data is seen. Normalised tokens have norm s =
// |scale|, or 0 for a zero vector, so log phi = w.x - |x|^2/2 lies within -s |w| - s^2/2 and s |w|.
struct FeatureRange {
  // Largest |log phi|; infinity when inputs are not normalised. A float32 feature errs by about
  // 1e-7 times it.
  double exponent = 0;

  // Largest log-ratio of the kernels sum_r phi_r(q) phi_r(k) that two keys can have with one query.
  double spread = 0;

  // projection: float32 [..., features, head_dim] on the CPU.
  static FeatureRange Of(const at::Tensor& projection, bool normalize, double scale);

  // What to expect of a projection with normal rows of head_dim numbers.
  static FeatureRange Typical(int64_t head_dim, bool normalize = true, double scale = 1);
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_FEATURE_RANGE_H_
