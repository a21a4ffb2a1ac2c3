#ifndef LONGWAVE_CLIENT_RETRY_TIMERS_H_
#define LONGWAVE_CLIENT_RETRY_TIMERS_H_

#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace longwave::client {

// Requests that wait to be sent again. Held by std::shared_ptr, which each wait shares.
// Thread-safe.
class RetryTimers : public std::enable_shared_from_this<RetryTimers> {
 public:
  // Calls `ended` once, on one of gRPC's threads, perhaps before this returns: with true after
  // `wait`, with false at once when the waits are cancelled. Does not block.
  void Start(absl::Duration wait, std::function<void(bool)> ended);

  // Ends all waits, and those that start later. Does not wait for their calls.
  void Cancel() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Wait;

  // The call of a wait has begun.
  void Remove(const std::shared_ptr<Wait>& wait) ABSL_LOCKS_EXCLUDED(mutex_);

  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  absl::flat_hash_set<std::shared_ptr<Wait>> waits_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_RETRY_TIMERS_H_
