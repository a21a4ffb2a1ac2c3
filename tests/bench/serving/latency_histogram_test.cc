#include "bench/serving/latency_histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

namespace longwave::bench {
namespace {

TEST(LatencyHistogramTest, QuantilesAreExactToABucket) {
  LatencyHistogram histogram;
  std::mt19937_64 random(7);
  std::uniform_real_distribution<double> exponent(0, 12);  // 1 ns to 1000 s
  std::vector<int64_t> all;
  for (int i = 0; i < 20'000; ++i) {
    all.push_back(static_cast<int64_t>(std::pow(10.0, exponent(random))));
    histogram.Record(absl::Nanoseconds(all.back()));
  }
  std::sort(all.begin(), all.end());
  for (const double q : {0.0001, 0.1, 0.5, 0.95, 0.99, 0.999, 1.0}) {
    const double exact = static_cast<double>(all[static_cast<size_t>(std::ceil(q * 20'000)) - 1]);
    const double found = absl::ToDoubleNanoseconds(histogram.Quantile(q));
    EXPECT_GE(found, exact) << q;
    EXPECT_LE(found, exact * 1.008) << q;
  }
  EXPECT_EQ(histogram.count(), 20'000);
  EXPECT_EQ(histogram.max(), absl::Nanoseconds(all.back()));
}

TEST(LatencyHistogramTest, ClampsWhatIsOutOfRange) {
  LatencyHistogram histogram;
  EXPECT_EQ(histogram.Quantile(0.5), absl::ZeroDuration());
  EXPECT_EQ(histogram.mean(), absl::ZeroDuration());
  histogram.Record(-absl::Seconds(1));
  EXPECT_EQ(histogram.Quantile(1), absl::ZeroDuration());
  histogram.Record(absl::InfiniteDuration());
  EXPECT_EQ(histogram.Quantile(1), absl::Hours(1));
  EXPECT_EQ(histogram.mean(), absl::Minutes(30));
}

}  // namespace
}  // namespace longwave::bench
