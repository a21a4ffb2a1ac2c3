#include "model/runtime/graph_shape.h"

#include <bit>

namespace longwave {
namespace {

constexpr int64_t kMaxSequences = 64;
constexpr int64_t kStep = 64;
// Of shapes for short sequences: multiples of kStep. Few, as each may cost a capture.
constexpr int64_t kLongest[] = {512, 1024};

int64_t RoundUp(int64_t x, int64_t step) { return (x + step - 1) / step * step; }

}  // namespace

std::optional<GraphShape> GraphShapeFor(const GraphShape& batch, int64_t max_tokens) {
  if (batch.tokens > max_tokens || batch.sequences > kMaxSequences) return std::nullopt;
  GraphShape shape;
  shape.tokens = shape.longest = RoundUp(batch.tokens, kStep);
  shape.sequences = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(batch.sequences)));
  for (const int64_t longest : kLongest) {
    if (longest < shape.longest && batch.longest <= longest) shape.longest = longest;
  }
  return shape;
}

std::vector<int64_t> CaptureLengths(const GraphShape& shape) {
  std::vector<int64_t> lengths(shape.sequences, 0);
  lengths[0] = shape.longest;
  // There is room for them: every sequence of the batch takes `longest` tokens or less.
  const int64_t rest = shape.tokens - shape.longest;
  const int64_t others = RoundUp(rest, shape.longest) / shape.longest;
  for (int64_t i = 0; i < others; ++i) {
    lengths[1 + i] = rest * (i + 1) / others - rest * i / others;
  }
  return lengths;
}

}  // namespace longwave
