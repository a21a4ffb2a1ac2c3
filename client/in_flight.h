#ifndef LONGWAVE_CLIENT_IN_FLIGHT_H_
#define LONGWAVE_CLIENT_IN_FLIGHT_H_

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace longwave::client {

// Counts requests under way and holds back the next one at a limit. Thread-safe.
class InFlight {
 public:
  // `limit` is at least 1.
  explicit InFlight(int limit) : limit_(limit) {}

  // Blocks while `limit` requests are under way.
  void Acquire() ABSL_LOCKS_EXCLUDED(mutex_);

  // One Acquire has ended. Does not block.
  void Release() ABSL_LOCKS_EXCLUDED(mutex_);

  // Blocks until nothing is under way.
  void WaitUntilIdle() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  bool HasRoom() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return count_ < limit_; }
  bool IsIdle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return count_ == 0; }

  const int limit_;
  absl::Mutex mutex_;
  int count_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_IN_FLIGHT_H_
