#include "bench/serving/latency_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace longwave::bench {

size_t LatencyHistogram::BucketOf(int64_t nanoseconds) {
  const uint64_t value = static_cast<uint64_t>(nanoseconds);
  const int shift = std::max(0, static_cast<int>(std::bit_width(value)) - kSubBits - 1);
  return (static_cast<size_t>(shift) << kSubBits) + (value >> shift);
}

int64_t LatencyHistogram::UpperBound(size_t bucket) {
  // The inverse of BucketOf(): from the second octave on its second summand has kSubBits + 1 bits.
  const size_t octave = bucket >> kSubBits;
  const int shift = octave < 2 ? 0 : static_cast<int>(octave) - 1;
  const int64_t mantissa = static_cast<int64_t>(bucket - (static_cast<size_t>(shift) << kSubBits));
  return ((mantissa + 1) << shift) - 1;
}

void LatencyHistogram::Record(absl::Duration duration) {
  const int64_t nanoseconds =
      std::clamp(absl::ToInt64Nanoseconds(duration), int64_t{0}, kMaxNanoseconds);
  counts_[BucketOf(nanoseconds)].fetch_add(1, std::memory_order_relaxed);
  sum_.fetch_add(nanoseconds, std::memory_order_relaxed);
  int64_t largest = max_.load(std::memory_order_relaxed);
  while (nanoseconds > largest &&
         !max_.compare_exchange_weak(largest, nanoseconds, std::memory_order_relaxed)) {
  }
}

int64_t LatencyHistogram::count() const {
  int64_t total = 0;
  for (const std::atomic<int64_t>& count : counts_) total += count.load(std::memory_order_relaxed);
  return total;
}

absl::Duration LatencyHistogram::Quantile(double q) const {
  const int64_t total = count();
  const int64_t rank = std::max<int64_t>(
      1, static_cast<int64_t>(std::ceil(q * static_cast<double>(total) * (1 - 1e-12))));
  int64_t seen = 0;
  for (size_t bucket = 0; bucket < kBuckets && total > 0; ++bucket) {
    seen += counts_[bucket].load(std::memory_order_relaxed);
    if (seen >= rank) return std::min(absl::Nanoseconds(UpperBound(bucket)), max());
  }
  return max();
}

absl::Duration LatencyHistogram::max() const {
  return absl::Nanoseconds(max_.load(std::memory_order_relaxed));
}

absl::Duration LatencyHistogram::mean() const {
  const int64_t total = count();
  if (total == 0) return absl::ZeroDuration();
  return absl::Nanoseconds(sum_.load(std::memory_order_relaxed) / total);
}

}  // namespace longwave::bench
