#ifndef LONGWAVE_MODEL_RUNTIME_STORE_ROWS_H_
#define LONGWAVE_MODEL_RUNTIME_STORE_ROWS_H_

#include <cstdint>

#include "absl/types/span.h"
#include "model/runtime/model.h"

namespace longwave {

// Puts the model's output, row-major [rows, cols], into the result; with `normalize` every row is
// divided by its L2 norm (a zero row stays zero). A NaN or an infinity must not leave as if it were
// an answer: the result's status becomes INTERNAL.
void StoreRows(absl::Span<const float> values, int64_t cols, bool normalize, RunResult& result);

// The same in parts: room for all rows first, then each part at its place. After the first part
// that is not finite the result is an error and has no values.
void ReserveRows(int64_t rows, int64_t cols, RunResult& result);
void StorePart(absl::Span<const float> values, int64_t first_row, bool normalize,
               RunResult& result);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_STORE_ROWS_H_
