#include "client/in_flight.h"

namespace longwave::client {

void InFlight::Acquire() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &InFlight::HasRoom));
  ++count_;
}

void InFlight::Release() {
  absl::MutexLock lock(&mutex_);
  --count_;
}

void InFlight::WaitUntilIdle() {
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(this, &InFlight::IsIdle));
}

}  // namespace longwave::client
