#include "model/attention/table_extent.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/attention/direct.h"
#include "model/attention/fft_split.h"

namespace longwave::attention {
namespace {

constexpr double kForbidden = -std::numeric_limits<double>::infinity();

// exp() of less is 0 in float64, and in float32 (Weight() drops denormal numbers).
constexpr double kLeastLog64 = -745;
constexpr double kLeastLog32 = -87.3;

// Distances whose largest weight is kept.
constexpr int64_t kBlock = DirectTile::kRows;
static_assert(DirectTile::kKeys == 2 * kBlock);

int64_t FloorDivide(int64_t a, int64_t b) { return a / b - (a % b < 0 ? 1 : 0); }

}  // namespace

void TableExtent::Side::Add(double b, int64_t times, double top) {
  if (times <= 0) return;
  const auto weights = static_cast<double>(times);
  count += times;
  if (b < floor) at_floor = 0;
  floor = std::min(floor, b);
  if (b == floor) at_floor += times;
  if (b - top < kLeastLog64) return;
  nonzero += times;
  if (b > largest) {
    sum = largest == kForbidden ? 0 : sum * std::exp(largest - b);
    largest = b;
  }
  sum += weights * std::exp(b - largest);
}

bool TableExtent::Side::HasFloor() const {
  if (nonzero == 0) return false;
  return std::exp(floor - largest) * static_cast<double>(count) >
         TableSplit::kWorthwhileFloor * sum;
}

TableExtent::TableExtent(const float* table, int64_t edge, bool causal) : edge_(edge) {
  const auto at = [&](int64_t t) -> double {
    return causal && t > 0 ? kForbidden : table[std::clamp(t, -edge, edge) + edge];
  };
  left_edge_ = at(-edge - 1);
  right_edge_ = at(edge + 1);
  const int64_t blocks = edge / kBlock + 1;
  for (int64_t block = -blocks; block < blocks; ++block) {
    double most = kForbidden;
    for (int64_t t = block * kBlock; t < (block + 1) * kBlock; ++t) most = std::max(most, at(t));
    block_max_.push_back(most);
  }
  top_ = kForbidden;
  for (int64_t reach = 0; reach <= edge + 1; ++reach) {
    const FarParts parts = PartsOf(left_, right_);
    floors_.push_back(parts.floors);
    transformed_.push_back(parts.transformed);
    if (reach > edge) break;
    top_ = std::max({top_, at(-reach), at(reach)});
    if (reach <= TableSplit::kNearDistance) continue;
    left_.Add(at(-reach), 1, top_);
    right_.Add(at(reach), 1, top_);
  }
}

FarParts TableExtent::PartsOf(const Side& left, const Side& right) {
  // Each of few weights stands out from the rest: all become diagonals.
  return {left.HasFloor() || right.HasFloor(),
          left.Remaining() + right.Remaining() > TableSplit::kMostDiagonals};
}

FarParts TableExtent::PartsOf(int64_t reach) const {
  if (reach <= edge_ + 1) return {floors_[reach], transformed_[reach]};
  Side left = left_, right = right_;
  const int64_t beyond = reach - 1 - std::max(edge_, TableSplit::kNearDistance);
  left.Add(left_edge_, beyond, top_);
  right.Add(right_edge_, beyond, top_);
  return PartsOf(left, right);
}

double TableExtent::BlockMax(int64_t block) const {
  const int64_t blocks = static_cast<int64_t>(block_max_.size()) / 2;
  if (block < -blocks) return left_edge_;
  if (block >= blocks) return right_edge_;
  return block_max_[block + blocks];
}

double TableExtent::ShareOfTiles(int64_t length) const {
  const int64_t rows = (length + DirectTile::kRows - 1) / DirectTile::kRows;
  const int64_t keys = (length + DirectTile::kKeys - 1) / DirectTile::kKeys;
  double reference = kForbidden;
  const int64_t half = length / (2 * kBlock);
  for (int64_t block = -half - 1; block <= half; ++block)
    reference = std::max(reference, BlockMax(block));
  // Tile k of the keys lies 2 k - r blocks behind tile r of the rows.
  int64_t nonzero = 0;
  for (int64_t offset = 1 - rows; offset <= 2 * (keys - 1); ++offset) {
    const double most = std::max({BlockMax(offset - 1), BlockMax(offset), BlockMax(offset + 1)});
    if (most - reference < kLeastLog32) continue;
    const int64_t first = std::max<int64_t>(0, FloorDivide(offset + 1, 2));
    const int64_t last = std::min(keys - 1, FloorDivide(rows - 1 + offset, 2));
    nonzero += std::max<int64_t>(0, last - first + 1);
  }
  return static_cast<double>(nonzero) / static_cast<double>(rows * keys);
}

}  // namespace longwave::attention
