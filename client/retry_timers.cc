#include "client/retry_timers.h"

#include <grpcpp/alarm.h>

#include <utility>

#include "absl/time/clock.h"

namespace longwave::client {

struct RetryTimers::Wait {
  grpc::Alarm alarm;
  bool ended = false;  // under the mutex of the timers
};

void RetryTimers::Start(absl::Duration wait, std::function<void(bool)> ended) {
  // Shared with the callback, which may run, and end whatever holds the rest, inside of Set().
  const auto started = std::make_shared<Wait>();
  started->alarm.Set(
      absl::ToChronoTime(absl::Now() + wait),
      [self = shared_from_this(), own = started, ended = std::move(ended)](bool expired) mutable {
        // An alarm keeps its callback: moved out, they do not keep each other.
        const std::shared_ptr<RetryTimers> timers = std::move(self);
        const std::shared_ptr<Wait> mine = std::move(own);
        const std::function<void(bool)> call = std::move(ended);
        timers->Remove(mine);
        call(expired);
      });
  bool cancelled = false;
  {
    const absl::MutexLock lock(&mutex_);
    if (!started->ended) waits_.insert(started);
    cancelled = cancelled_;
  }
  if (cancelled) started->alarm.Cancel();
}

void RetryTimers::Remove(const std::shared_ptr<Wait>& wait) {
  const absl::MutexLock lock(&mutex_);
  wait->ended = true;
  waits_.erase(wait);
}

void RetryTimers::Cancel() {
  absl::flat_hash_set<std::shared_ptr<Wait>> waits;
  {
    const absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    waits = waits_;
  }
  for (const std::shared_ptr<Wait>& wait : waits) wait->alarm.Cancel();
}

}  // namespace longwave::client
