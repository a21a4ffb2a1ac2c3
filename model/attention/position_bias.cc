#include "model/attention/position_bias.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

namespace longwave::attention {

double PairWeights::Shift(int64_t i) const {
  if (top_ - row_max_[i] <= 10) return top_;
  return std::ceil(row_max_[i] / 8) * 8;
}

void PairWeights::Finish(std::vector<double> row_max) {
  row_max_ = std::move(row_max);
  top_ = *std::max_element(row_max_.begin(), row_max_.end());
  shared_ = Table(top_);
}

float Weight(double b, double shift) {
  const float weight = static_cast<float>(std::exp(b - shift));
  return weight < std::numeric_limits<float>::min() ? 0 : weight;
}

float MultiplyAndSum(const float* weights, int64_t count, float* scores) {
  // Independent partial sums: vectorises, and errs less than one long sum.
  constexpr int64_t kLanes = 16;
  std::array<float, kLanes> sums{};
  int64_t c = 0;
  for (; c + kLanes <= count; c += kLanes) {
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      scores[c + lane] *= weights[c + lane];
      sums[lane] += scores[c + lane];
    }
  }
  float sum = 0;
  for (; c < count; ++c) {
    scores[c] *= weights[c];
    sum += scores[c];
  }
  for (const float lane : sums) sum += lane;
  return sum;
}

}  // namespace longwave::attention
