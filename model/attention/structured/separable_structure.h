#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_SEPARABLE_STRUCTURE_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_SEPARABLE_STRUCTURE_H_

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

namespace longwave::attention {

// The bias table of one head of a grid as a sum over its axes, b[dy, dx] = by[dy] + bx[dx] (axial
// tables): exp(b) is a product, so keys can be summed along one axis and then along the other.
struct SeparableStructure {
  std::array<int64_t, 2> grid = {};  // height, width
  // exp(by) and exp(bx) up to a factor, [2 size - 1] by distance, at most 1.
  std::array<std::vector<float>, 2> weights;

  // The certificate, as TableStructure has it.
  double relative_error = 0.0;
  double threshold = 0.0;
  bool drops_small = false;

  double ErrorBound(double spread) const;
};

// b: as in AnalyzeGrid. Nothing where no such sum is near enough. Linear in the table's size.
std::optional<SeparableStructure> AnalyzeSeparable(const float* b, int64_t height, int64_t width);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_SEPARABLE_STRUCTURE_H_
