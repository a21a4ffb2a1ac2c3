#include "model/runtime/store_rows.h"

#include <algorithm>
#include <cmath>

namespace longwave {
namespace {

bool IsFinite(absl::Span<const float> values) {
  for (const float value : values) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

// Divides by the L2 norm, summed in float64; a zero row stays zero.
void Normalize(absl::Span<float> row) {
  double sum = 0;
  for (const float value : row) sum += static_cast<double>(value) * value;
  if (sum == 0) return;
  const double factor = 1 / std::sqrt(sum);
  for (float& value : row) value = static_cast<float>(value * factor);
}

}  // namespace

void StoreRows(absl::Span<const float> values, int64_t cols, bool normalize, RunResult& result) {
  ReserveRows(static_cast<int64_t>(values.size()) / cols, cols, result);
  StorePart(values, 0, normalize, result);
}

void ReserveRows(int64_t rows, int64_t cols, RunResult& result) {
  result.rows = rows;
  result.cols = cols;
  result.values.resize(rows * cols);
}

void StorePart(absl::Span<const float> values, int64_t first_row, bool normalize,
               RunResult& result) {
  if (!result.status.ok()) return;
  if (!IsFinite(values)) {
    result = RunResult{
        absl::InternalError("output: found a NaN or an infinity in what the model made"), 0, 0, {}};
    return;
  }
  float* const target = result.values.data() + first_row * result.cols;
  std::copy(values.begin(), values.end(), target);
  if (!normalize) return;
  const auto size = static_cast<int64_t>(values.size());
  for (int64_t i = 0; i < size; i += result.cols) {
    Normalize(absl::MakeSpan(target + i, result.cols));
  }
}

}  // namespace longwave
