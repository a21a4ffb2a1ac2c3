#include "model/attention/structured/prepared_head.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "model/attention/structured/chunk_kernels.h"

namespace longwave::attention {

PreparedHead::PreparedHead(const float* bias, int64_t length, TableStructure structure)
    : structure_(std::move(structure)), far_field_(structure_) {
  for (const int64_t offset : structure_.direct) reach_ = std::max(reach_, std::abs(offset));
  const int64_t farthest = reach_ * kChunk + kChunk - 1;
  weights_.resize(2 * farthest + 1);
  for (int64_t t = -farthest; t <= farthest; ++t) {
    const int64_t clamped = std::clamp(t, -(length - 1), length - 1);
    const double b = bias[length - 1 + clamped];
    weights_[t + farthest] = static_cast<float>(std::exp(b - structure_.reference));
  }
}

const float* PreparedHead::Tile(int64_t offset) const {
  return weights_.data() + (reach_ + offset) * kChunk + kChunk - 1;
}

}  // namespace longwave::attention
