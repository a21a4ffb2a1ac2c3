#include "server/rpc/request_gate.h"

#include "absl/strings/str_cat.h"

namespace longwave {

bool RequestGate::TryEnter() {
  absl::MutexLock lock(&mutex_);
  if (closed_) return false;
  ++inside_;
  return true;
}

void RequestGate::Leave(int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  --inside_;
  bytes_ -= bytes;
}

absl::Status RequestGate::TryHold(int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  if (bytes_ + bytes > max_bytes_) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "the server is full: the requests inside hold ", bytes_, " bytes, this one has ", bytes,
        ", the limit is ", max_bytes_, "; try again later"));
  }
  bytes_ += bytes;
  return absl::OkStatus();
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
