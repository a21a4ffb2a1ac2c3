#include "model/attention/structured/block_arrays.h"

#include <cmath>

namespace longwave::attention {

SideFactors::SideFactors(const GridStructure& structure, int axis, int side) {
  const double rate = structure.sides[axis][side].rate;
  if (rate == 0.0) return;
  const int size = structure.block[axis];
  for (int place = 0; place < kChunk; ++place) {
    const int along = axis == kVertical ? place / structure.block[kHorizontal]
                                        : place % structure.block[kHorizontal];
    const auto weight = [rate](int distance) {
      return static_cast<float>(std::exp(-rate * distance));
    };
    keys.push_back(weight(side == 1 ? along : size - along));
    queries.push_back(weight(side == 1 ? size - along : along));
  }
  decay = static_cast<float>(std::exp(-rate * size));
}

}  // namespace longwave::attention
