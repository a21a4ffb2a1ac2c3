#include "server/batching/load_meter.h"

#include <algorithm>
#include <cmath>

namespace longwave {
namespace {

// The latest 20 batches or so count.
constexpr double kKept = 0.95;

}  // namespace

void LoadMeter::OnBatch(double cost, int64_t tokens, absl::Duration compute) {
  const double ms = absl::ToDoubleMilliseconds(compute);
  for (double* sum : {&weight_, &x_, &y_, &xx_, &xy_, &tokens_}) *sum *= kKept;
  weight_ += 1;
  x_ += cost;
  y_ += ms;
  xx_ += cost * cost;
  xy_ += cost * ms;
  tokens_ += static_cast<double>(tokens);
  doubt_ = 1;
}

LoadMeter::Line LoadMeter::Fit() const {
  const double mean = x_ / weight_;
  const double variance = xx_ / weight_ - mean * mean;
  const double largest_slope = y_ / x_;  // no overhead
  // Batches of one size do not tell overhead and slope apart.
  if (variance < 0.01 * mean * mean) return {0, largest_slope};
  const double slope = (xy_ / weight_ - mean * y_ / weight_) / variance;
  // Overhead is never all there is: a slope of zero would promise anything.
  const double bounded = std::clamp(slope, 0.01 * largest_slope, largest_slope);
  return {(y_ - bounded * x_) / weight_, bounded};
}

absl::Duration LoadMeter::BatchTime(double cost) const {
  const Line line = Fit();
  return absl::Milliseconds(line.overhead_ms + line.slope * cost);
}

absl::Duration LoadMeter::LeastTime(double cost) const { return doubt_ * BatchTime(cost); }

absl::Duration LoadMeter::WorkTime(double cost, absl::Duration batch_time) const {
  const Line line = Fit();
  const double most = absl::ToDoubleMilliseconds(batch_time);
  const double computing = line.slope * cost;
  const double batches = std::max(1.0, std::ceil(computing / most));
  return absl::Milliseconds(line.overhead_ms * batches + computing);
}

double LoadMeter::TokensPerSecond() const { return y_ > 0 ? tokens_ / y_ * 1000 : 0; }

}  // namespace longwave
