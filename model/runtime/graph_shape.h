#ifndef LONGWAVE_MODEL_RUNTIME_GRAPH_SHAPE_H_
#define LONGWAVE_MODEL_RUNTIME_GRAPH_SHAPE_H_

#include <compare>
#include <cstdint>
#include <optional>
#include <vector>

namespace longwave {

// What a captured forward pass is good for: any batch of at most so many tokens and sequences, none
// of which is longer than `longest`. The kernels read where sequences end from the device's memory;
// tokens behind the last one belong to no sequence and are never read.
struct GraphShape {
  int64_t tokens = 0;
  int64_t sequences = 0;
  int64_t longest = 0;

  auto operator<=>(const GraphShape&) const = default;
};

// The smallest shape that holds a batch of exactly such a shape; nothing when it has more than
// max_tokens tokens or too many sequences, and its launches are little beside its work. At most 63
// tokens are computed for nothing, no more than a tile of a matrix product is filled up with
// anyway. Short sequences have shapes of their own, because attention has kernels for them; longer
// ones share those of one sequence of all the tokens.
std::optional<GraphShape> GraphShapeFor(const GraphShape& batch, int64_t max_tokens);

// Lengths that stand for any batch of the shape when it is captured: one of `longest` tokens, the
// others' shared out evenly over as few as hold them, and empty ones.
std::vector<int64_t> CaptureLengths(const GraphShape& shape);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_GRAPH_SHAPE_H_
