#ifndef LONGWAVE_BENCH_SERVING_LATENCY_HISTOGRAM_H_
#define LONGWAVE_BENCH_SERVING_LATENCY_HISTOGRAM_H_

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "absl/time/time.h"

namespace longwave::bench {

// Counts durations in buckets that are linear within each power of two, 128 to an octave: a
// quantile is at most 0.8% too high, from a nanosecond to an hour, and memory does not grow with
// the length of a run (the layout of HdrHistogram). Thread-safe; recording takes no lock.
class LatencyHistogram {
 public:
  // Negative durations count as zero, longer ones than an hour as an hour.
  void Record(absl::Duration duration);

  int64_t count() const;

  // The smallest recorded duration that at least a share `q` in (0, 1] does not exceed, rounded up
  // to its bucket but not beyond the largest. Zero when nothing was recorded.
  absl::Duration Quantile(double q) const;

  absl::Duration max() const;
  absl::Duration mean() const;

 private:
  static constexpr int kSubBits = 7;  // 2^7 buckets to an octave
  static constexpr int64_t kMaxNanoseconds = int64_t{3600} * 1'000'000'000;
  static constexpr size_t kBuckets = 4608;

  static size_t BucketOf(int64_t nanoseconds);
  static int64_t UpperBound(size_t bucket);

  std::array<std::atomic<int64_t>, kBuckets> counts_{};
  std::atomic<int64_t> sum_{0};
  std::atomic<int64_t> max_{0};
};

}  // namespace longwave::bench

#endif  // LONGWAVE_BENCH_SERVING_LATENCY_HISTOGRAM_H_
