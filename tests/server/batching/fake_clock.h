#ifndef LONGWAVE_TESTS_SERVER_BATCHING_FAKE_CLOCK_H_
#define LONGWAVE_TESTS_SERVER_BATCHING_FAKE_CLOCK_H_

#include <atomic>
#include <cstdint>
#include <list>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/batching/clock.h"

namespace longwave {

// A clock that stands still until a test moves it. Thread-safe.
class FakeClock final : public Clock {
 public:
  absl::Time Now() const override;
  bool AwaitWithDeadline(absl::Mutex& mutex, const absl::Condition& condition,
                         absl::Time deadline) const override;

  // Moves the time on and wakes those whose deadline it reaches.
  void Advance(absl::Duration by);

  // How often the time was read.
  int64_t reads() const { return reads_; }

  // Blocks until `count` threads wait in AwaitWithDeadline(), so that a test can move the time
  // under them.
  void AwaitWaiters(size_t count) const;

 private:
  mutable std::atomic<int64_t> reads_{0};
  mutable absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = absl::UnixEpoch() + absl::Hours(1);
  mutable std::list<absl::Mutex*> waiters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SERVER_BATCHING_FAKE_CLOCK_H_
