#ifndef LONGWAVE_MODEL_ATTENTION_FEATURES_H_
#define LONGWAVE_MODEL_ATTENTION_FEATURES_H_

#include <ATen/core/Tensor.h>

#include "model/attention/problem.h"

namespace longwave::attention {

// phi(q) and phi(k) for the tokens of a part, up to factors that cancel in the quotient of the
// attention.
struct Features {
  at::Tensor q;  // [heads, tokens, features], contiguous
  at::Tensor k;  // the same
};

// float32 features of part.sequences (which lie side by side, without gaps) and heads [head_begin,
// head_end).
//
// Where an exponent may be large (unnormalised inputs, large scales) it is formed in float64, and
// maxima are taken off before exp: of every feature over the keys of a sequence, added to the
// queries' exponents, and then of every query. All of them cancel, so every feature of a key and of
// a query is at most 1, and the best key of a query has a kernel of at least 1.
Features ComputeFeatures(const Part& part);

// The same for one sequence, always in float64 with maxima taken off.
Features ComputeFeatures64(const Problem& problem, const Sequence& sequence, int64_t head);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_FEATURES_H_
