#include "server/batching/load_meter.h"

#include <gtest/gtest.h>

namespace longwave {
namespace {

double Ms(absl::Duration duration) { return absl::ToDoubleMilliseconds(duration); }

TEST(LoadMeterTest, FindsOverheadAndSlope) {
  LoadMeter meter;
  EXPECT_FALSE(meter.known());
  for (int i = 0; i < 50; ++i) {
    const double cost = 1 + i % 7;
    meter.OnBatch(cost, 100, absl::Milliseconds(2 + 3 * cost));
  }
  EXPECT_TRUE(meter.known());
  EXPECT_NEAR(Ms(meter.BatchTime(10)), 32, 0.1);
  // 300 ms of computing in batches of 50 ms: six overheads.
  EXPECT_NEAR(Ms(meter.WorkTime(100, absl::Milliseconds(50))), 312, 1);
  EXPECT_NEAR(Ms(meter.WorkTime(100, absl::InfiniteDuration())), 302, 1);
}

TEST(LoadMeterTest, BatchesOfOneSizeAreTakenToScale) {
  LoadMeter meter;
  for (int i = 0; i < 10; ++i) meter.OnBatch(4, 100, absl::Milliseconds(8));
  EXPECT_NEAR(Ms(meter.BatchTime(1)), 2, 1e-9);
  EXPECT_NEAR(meter.TokensPerSecond(), 12500, 1e-6);
}

TEST(LoadMeterTest, ForgetsWhatIsLongAgo) {
  LoadMeter meter;
  for (int i = 0; i < 50; ++i) meter.OnBatch(1, 100, absl::Milliseconds(100));
  for (int i = 0; i < 200; ++i) meter.OnBatch(1, 100, absl::Milliseconds(1));
  EXPECT_NEAR(Ms(meter.BatchTime(1)), 1, 0.02);
}

TEST(LoadMeterTest, NoiseNeverMakesWorkFree) {
  LoadMeter meter;
  for (int i = 0; i < 50; ++i) {
    const double cost = 1 + i % 7;
    meter.OnBatch(cost, 100, absl::Milliseconds(20 - cost));  // the larger, the faster
  }
  EXPECT_GT(meter.BatchTime(2000), 2 * meter.BatchTime(1));
}

TEST(LoadMeterTest, RefusalsWearAWrongPredictionDown) {
  LoadMeter meter;
  meter.OnBatch(1, 10, absl::Seconds(10));
  for (int i = 0; i < 100; ++i) meter.OnRefusal();
  EXPECT_LT(meter.LeastTime(1), absl::Milliseconds(1));
  EXPECT_EQ(meter.BatchTime(1), absl::Seconds(10));  // what is asked for anything but a refusal
  meter.OnBatch(1, 10, absl::Seconds(10));
  EXPECT_GT(meter.LeastTime(1), absl::Seconds(9));
}

}  // namespace
}  // namespace longwave
