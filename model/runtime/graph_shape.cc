#include "model/runtime/graph_shape.h"

#include <bit>

namespace longwave {
namespace {

constexpr int64_t kMaxSequences = 64;
constexpr int64_t kStep = 64;

}  // namespace

std::optional<GraphShape> GraphShapeFor(int64_t tokens, int64_t sequences, int64_t max_tokens) {
  if (tokens > max_tokens || sequences > kMaxSequences) return std::nullopt;
  return GraphShape{(tokens + kStep - 1) / kStep * kStep,
                    static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(sequences)))};
}

std::vector<int64_t> CaptureLengths(const GraphShape& shape) {
  std::vector<int64_t> lengths(shape.sequences, 0);
  lengths[0] = shape.tokens;
  return lengths;
}

}  // namespace longwave
