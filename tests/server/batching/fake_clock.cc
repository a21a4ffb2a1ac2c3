#include "tests/server/batching/fake_clock.h"

#include <iterator>
#include <vector>

namespace longwave {

absl::Time FakeClock::Now() const {
  ++reads_;
  absl::MutexLock lock(&mutex_);
  return now_;
}

bool FakeClock::AwaitWithDeadline(absl::Mutex& mutex, const absl::Condition& condition,
                                  absl::Time deadline) const {
  std::list<absl::Mutex*>::iterator self;
  {
    absl::MutexLock lock(&mutex_);
    waiters_.push_back(&mutex);
    self = std::prev(waiters_.end());
  }
  const auto over = [&] { return condition.Eval() || Now() >= deadline; };
  mutex.Await(absl::Condition(&over));
  {
    absl::MutexLock lock(&mutex_);
    waiters_.erase(self);
  }
  return condition.Eval();
}

void FakeClock::Advance(absl::Duration by) {
  std::vector<absl::Mutex*> waiters;
  {
    absl::MutexLock lock(&mutex_);
    now_ += by;
    waiters.assign(waiters_.begin(), waiters_.end());
  }
  // Unlocking a mutex makes it look at its conditions again.
  for (absl::Mutex* waiter : waiters) absl::MutexLock lock(waiter);
}

void FakeClock::AwaitWaiters(size_t count) const {
  const auto reached = [&]()
                           ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return waiters_.size() >= count; };
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&reached));
}

}  // namespace longwave
