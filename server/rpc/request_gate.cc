#include "server/rpc/request_gate.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/batching/retry_delay.h"

namespace longwave {
namespace {

// How much must leave for the mean stay to be renewed, as a part of what may be inside.
constexpr double kMemory = 0.5;

}  // namespace

bool RequestGate::TryEnter() {
  absl::MutexLock lock(&mutex_);
  if (closed_) return false;
  ++inside_;
  return true;
}

void RequestGate::Leave(int64_t bytes, absl::Duration stay) {
  absl::MutexLock lock(&mutex_);
  --inside_;
  bytes_ -= bytes;
  if (bytes == 0) return;
  if (!mean_stay_.has_value()) mean_stay_ = stay;
  const double weight = std::min(1.0, static_cast<double>(bytes) / (kMemory * max_bytes_));
  *mean_stay_ += weight * (stay - *mean_stay_);
}

absl::Status RequestGate::TryHold(int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  if (const int64_t excess = bytes_ + bytes - max_bytes_; excess > 0) {
    // By Little's law, what is inside leaves within the time that a byte stays.
    const double part = std::min(1.0, static_cast<double>(excess) / static_cast<double>(bytes_));
    return BusyError(absl::StrCat("the server is full: the requests inside hold ", bytes_,
                                  " bytes, this one has ", bytes, ", the limit is ", max_bytes_),
                     mean_stay_.has_value() ? part * *mean_stay_ : kUnknownRetryDelay);
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
