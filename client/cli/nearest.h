#ifndef LONGWAVE_CLIENT_CLI_NEAREST_H_
#define LONGWAVE_CLIENT_CLI_NEAREST_H_

#include <cstddef>
#include <optional>
#include <vector>

#include "absl/types/span.h"

namespace longwave::client {

struct Neighbour {
  size_t index = 0;
  double cosine = 0;  // [-1, 1]
};

// One per input; none where an input has no neighbour.
using Neighbours = std::vector<std::optional<Neighbour>>;

// For every vector the other one with the largest cosine, the first among equals. None for an empty
// vector, or one of length zero, or when there is no other; such vectors are nobody's neighbour.
// Vectors that are not empty have the same size. Work is quadratic.
Neighbours NearestNeighbours(const std::vector<absl::Span<const float>>& vectors);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_NEAREST_H_
