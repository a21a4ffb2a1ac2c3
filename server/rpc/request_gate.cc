#include "server/rpc/request_gate.h"

namespace longwave {

bool RequestGate::TryEnter() {
  absl::MutexLock lock(&mutex_);
  if (closed_) return false;
  ++inside_;
  return true;
}

void RequestGate::Leave() {
  absl::MutexLock lock(&mutex_);
  --inside_;
}

void RequestGate::Close() {
  absl::MutexLock lock(&mutex_);
  closed_ = true;
}

int64_t RequestGate::AwaitEmpty(const Clock& clock, absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  clock.AwaitWithDeadline(mutex_, absl::Condition(this, &RequestGate::IsEmpty), deadline);
  return inside_;
}

}  // namespace longwave
