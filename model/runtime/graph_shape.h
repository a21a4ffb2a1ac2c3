#ifndef LONGWAVE_MODEL_RUNTIME_GRAPH_SHAPE_H_
#define LONGWAVE_MODEL_RUNTIME_GRAPH_SHAPE_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <vector>

namespace longwave {

// What a captured forward pass is good for: any batch of at most so many tokens and sequences. The
// kernels read where sequences end from the device's memory; tokens behind the last one belong to
// no sequence and are never read.
struct GraphShape {
  int64_t tokens = 0;
  int64_t sequences = 0;

  auto operator<=>(const GraphShape&) const = default;
};

// The smallest shape that holds such a batch; nothing when it has more than max_tokens tokens or
// too many sequences, and its launches are little beside its work. At most 63 tokens are computed
// for nothing, no more than a tile of a matrix product is filled up with anyway.
std::optional<GraphShape> GraphShapeFor(int64_t tokens, int64_t sequences, int64_t max_tokens);

// Lengths that stand for any batch of the shape when it is captured: one sequence of all tokens,
// and empty ones.
std::vector<int64_t> CaptureLengths(const GraphShape& shape);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_GRAPH_SHAPE_H_
