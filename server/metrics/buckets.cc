#include "server/metrics/buckets.h"

#include <cmath>

namespace longwave {

std::vector<double> DurationBuckets() {
  constexpr int kCount = 35;
  std::vector<double> bounds(kCount);
  for (int k = 0; k < kCount; ++k) bounds[k] = 15e-6 * std::pow(1.5, k);
  return bounds;
}

std::vector<double> PowerOfTwoBuckets(double first, double last) {
  std::vector<double> bounds;
  for (double bound = first; bound <= last; bound *= 2) bounds.push_back(bound);
  return bounds;
}

}  // namespace longwave
