#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_EXPONENTIAL_FIT_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_EXPONENTIAL_FIT_H_

#include <cstdint>
#include <functional>
#include <vector>

namespace longwave::attention {

// weight * exp(-rate t), rate >= 0, weight > 0.
struct Exponential {
  double rate = 0.0;
  double weight = 0.0;
};

// Approximates c(t) > 0 on the integers [begin, end] by a sum of at most `max_terms` exponentials
// with positive weights, to a relative error below `tolerance` in every t that it looks at (a fine
// grid; the caller checks all). Completely monotone functions, such as 1/(1+t) and powers of it,
// have such sums with few terms (Braess and Hackbusch, "Approximation of 1/x by exponential sums").
// Empty when there is none. `c` is called for integers in [begin, end] only.
std::vector<Exponential> FitExponentials(const std::function<double(int64_t)>& c, int64_t begin,
                                         int64_t end, int max_terms, double tolerance);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_EXPONENTIAL_FIT_H_
