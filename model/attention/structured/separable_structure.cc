#include "model/attention/structured/separable_structure.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/attention/position_bias.h"
#include "model/attention/structured/table_structure.h"

namespace longwave::attention {
namespace {

// A weight that matters must be a normal float32 on either axis.
constexpr double kLeastExponent = -80.0;

}  // namespace

double SeparableStructure::ErrorBound(double spread) const {
  double bound = 2.0 * relative_error / (1.0 - relative_error);
  if (drops_small)
    bound += static_cast<double>(grid[0] * grid[1]) * std::exp(spread - threshold + 1);
  return bound;
}

std::optional<SeparableStructure> AnalyzeSeparable(const float* b, int64_t height, int64_t width) {
  const StructureOptions options;
  const int64_t rows = 2 * height - 1, columns = 2 * width - 1;
  const double center = b[(height - 1) * columns + width - 1];
  const double floor = center - options.threshold;
  std::array<std::vector<double>, 2> axes = {std::vector<double>(rows),
                                             std::vector<double>(columns)};
  for (int64_t y = 0; y < rows; ++y) axes[0][y] = b[y * columns + width - 1] - center;
  for (int64_t x = 0; x < columns; ++x) axes[1][x] = b[(height - 1) * columns + x];
  const double top_y = *std::max_element(axes[0].begin(), axes[0].end());
  const double top_x = *std::max_element(axes[1].begin(), axes[1].end());

  SeparableStructure out;
  out.grid = {height, width};
  out.threshold = options.threshold;
  for (int64_t y = 0; y < rows; ++y) {
    for (int64_t x = 0; x < columns; ++x) {
      const double exact = b[y * columns + x], sum = axes[0][y] + axes[1][x];
      if (exact < floor) {
        // A weight that is nearly nothing may become e times the threshold.
        if (sum > floor + 1.0) return std::nullopt;
        out.drops_small |= exact > -std::numeric_limits<double>::infinity() ||
                           sum > -std::numeric_limits<double>::infinity();
        continue;
      }
      const double error = std::abs(std::expm1(sum - exact));
      if (!(error <= options.relative_error) ||
          std::min(axes[0][y] - top_y, axes[1][x] - top_x) < kLeastExponent)
        return std::nullopt;
      out.relative_error = std::max(out.relative_error, error);
    }
  }
  for (const double value : axes[0]) out.weights[0].push_back(Weight(value, top_y));
  for (const double value : axes[1]) out.weights[1].push_back(Weight(value, top_x));
  return out;
}

}  // namespace longwave::attention
