#ifndef LONGWAVE_SERVER_RPC_REQUEST_GATE_H_
#define LONGWAVE_SERVER_RPC_REQUEST_GATE_H_

#include <cstdint>
#include <optional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/batching/clock.h"

namespace longwave {

// Lets requests in until it is closed, and knows how many are inside and how many bytes their
// messages hold. Thread-safe.
class RequestGate {
 public:
  // `max_bytes` bounds what TryHold() grants.
  explicit RequestGate(int64_t max_bytes) : max_bytes_(max_bytes) {}

  // False once the gate is closed; otherwise the caller is inside until it calls Leave().
  bool TryEnter() ABSL_LOCKS_EXCLUDED(mutex_);

  // Of a caller that is inside and gives back the `bytes` that it has held for `stay`.
  void Leave(int64_t bytes, absl::Duration stay) ABSL_LOCKS_EXCLUDED(mutex_);

  // Counts `bytes` for a caller that is inside. RESOURCE_EXHAUSTED when all would hold more than
  // allowed; then nothing is counted, and RetryDelay() says when there should be room.
  absl::Status TryHold(int64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_);

  // Lets nobody in from now on.
  void Close() ABSL_LOCKS_EXCLUDED(mutex_);

  // Blocks until nobody is inside or `clock` reaches `deadline`. Returns how many are still inside.
  int64_t AwaitEmpty(const Clock& clock, absl::Time deadline) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  bool IsEmpty() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return inside_ == 0; }

  const int64_t max_bytes_;
  absl::Mutex mutex_;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t inside_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::optional<absl::Duration> mean_stay_ ABSL_GUARDED_BY(mutex_);  // of a byte; of late
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_REQUEST_GATE_H_
