#include "model/attention/fft_split.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace longwave::attention {
namespace {

// A weight stands out when it alone has this share of the energy that is left; each costs about as
// much as a thousandth of the transforms.
constexpr double kLargeShare = 1.0 / 256;

// exp(b - reference) by distance.
using Weights = std::function<double(int64_t)>;

// The floor of the distances beyond the near band on one side, sign +-1.
double Floor(const Weights& weights, int64_t reach, int64_t sign) {
  double least = std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t t = TableSplit::kNearDistance + 1; t < reach; ++t) {
    const double weight = weights(sign * t);
    least = std::min(least, weight);
    sum += weight;
  }
  const double count = static_cast<double>(reach - 1 - TableSplit::kNearDistance);
  return least * count > TableSplit::kWorthwhileFloor * sum && count > 0 ? least : 0;
}

// Moves weights that stand out from far to diagonals.
std::vector<Diagonal> TakeDiagonals(std::vector<double>& far) {
  const int64_t center = static_cast<int64_t>(far.size()) / 2;
  std::vector<int64_t> order(far.size());
  std::iota(order.begin(), order.end(), 0);
  const int64_t most =
      std::min<int64_t>(TableSplit::kMostDiagonals, static_cast<int64_t>(order.size()));
  std::partial_sort(order.begin(), order.begin() + most, order.end(),
                    [&](int64_t a, int64_t b) { return far[a] > far[b]; });
  // The energy of each of the largest weights with all that are smaller, summed from below.
  std::vector<double> energy(most + 1);
  for (size_t p = most; p < order.size(); ++p) energy[most] += far[order[p]] * far[order[p]];
  for (int64_t k = most - 1; k >= 0; --k) energy[k] = energy[k + 1] + far[order[k]] * far[order[k]];
  std::vector<Diagonal> diagonals;
  for (int64_t k = 0; k < most; ++k) {
    double& weight = far[order[k]];
    if (weight == 0 || weight * weight < kLargeShare * energy[k]) break;
    diagonals.push_back({order[k] - center, static_cast<float>(weight)});
    weight = 0;
  }
  return diagonals;
}

}  // namespace

TableSplit SplitTable(const std::function<double(int64_t)>& bias, int64_t reach,
                      std::vector<double>& far) {
  double reference = -std::numeric_limits<double>::infinity();
  for (int64_t t = 1 - reach; t < reach; ++t) reference = std::max(reference, bias(t));
  const Weights weights = [&](int64_t t) { return std::exp(bias(t) - reference); };

  TableSplit split;
  split.left_floor = Floor(weights, reach, -1);
  split.right_floor = Floor(weights, reach, 1);
  const auto floor = [&](int64_t t) { return t < 0 ? split.left_floor : split.right_floor; };

  constexpr int64_t kFarthest = TableSplit::kNearDistance + kChunk - 1;
  for (int64_t t = -kFarthest; t <= kFarthest; ++t) {
    const bool inside = std::abs(t) <= TableSplit::kNearDistance && std::abs(t) < reach;
    split.near.push_back(static_cast<float>(inside ? weights(t) : floor(t)));
  }
  far.assign(2 * reach - 1, 0.0);
  for (int64_t t = 1 - reach; t < reach; ++t) {
    if (std::abs(t) > TableSplit::kNearDistance) far[t + reach - 1] = weights(t) - floor(t);
  }
  split.diagonals = TakeDiagonals(far);
  split.nonzero.resize(far.size() + 1);
  for (size_t p = 0; p < far.size(); ++p)
    split.nonzero[p + 1] = split.nonzero[p] + (far[p] != 0 ? 1 : 0);
  return split;
}

}  // namespace longwave::attention
