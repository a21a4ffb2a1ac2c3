#ifndef LONGWAVE_MODEL_ATTENTION_REFERENCE_H_
#define LONGWAVE_MODEL_ATTENTION_REFERENCE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/attention/problem.h"

namespace longwave::attention {

// float64 [rows, value_dim]: the output of some rows of one sequence and head, in float64 from the
// formula. rows: positions within the sequence. Takes memory for a block of rows times the
// sequence, whatever the number of rows.
at::Tensor ReferenceRows(const Problem& problem, const Sequence& sequence, int64_t head,
                         const std::vector<int64_t>& rows);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_REFERENCE_H_
