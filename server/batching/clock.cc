#include "server/batching/clock.h"

#include <chrono>

namespace longwave {
namespace {

class MonotonicClock final : public Clock {
 public:
  absl::Time Now() const override {
    return origin_ + absl::FromChrono(std::chrono::steady_clock::now() - start_);
  }

  bool AwaitWithDeadline(absl::Mutex& mutex, const absl::Condition& condition,
                         absl::Time deadline) const override {
    return mutex.AwaitWithTimeout(condition, deadline - Now());
  }

 private:
  const absl::Time origin_ = absl::Now();
  const std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace

const Clock& Clock::Monotonic() {
  static const MonotonicClock* const clock = new MonotonicClock;
  return *clock;
}

}  // namespace longwave
