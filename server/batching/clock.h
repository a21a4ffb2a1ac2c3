#ifndef LONGWAVE_SERVER_BATCHING_CLOCK_H_
#define LONGWAVE_SERVER_BATCHING_CLOCK_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace longwave {

// Where the server gets the time from, so that tests can say what time it is. Thread-safe.
//
// The time never goes backwards and does not jump when the system's clock is set; only differences
// and comparisons of one clock's times mean something.
class Clock {
 public:
  virtual ~Clock() = default;

  virtual absl::Time Now() const = 0;

  // Blocks until `condition` holds or Now() >= `deadline`; returns whether the condition holds. The
  // caller holds `mutex`, which is released while waiting, as with absl::Mutex::AwaitWithDeadline.
  virtual bool AwaitWithDeadline(absl::Mutex& mutex, const absl::Condition& condition,
                                 absl::Time deadline) const ABSL_SHARED_LOCKS_REQUIRED(mutex) = 0;

  // The machine's monotonic clock. Lives as long as the process.
  static const Clock& Monotonic();
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_CLOCK_H_
