#ifndef LONGWAVE_SERVER_BATCHING_LISTENERS_H_
#define LONGWAVE_SERVER_BATCHING_LISTENERS_H_

#include <functional>
#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace longwave {

// Those who want to know that something shared has changed. Thread-safe.
class Listeners {
 public:
  // Calls `listener` whenever Tell() is called, on that thread.
  int Add(std::function<void()> listener) {
    absl::MutexLock lock(&mutex_);
    listeners_.emplace(++last_, std::move(listener));
    return last_;
  }

  // Returns when the listener is not being called any more. Not from within a listener.
  void Remove(int id) {
    absl::MutexLock lock(&mutex_);
    listeners_.erase(id);
  }

  // Call it without holding a lock that a listener takes.
  void Tell() {
    absl::MutexLock lock(&mutex_);
    for (const auto& [id, listener] : listeners_) listener();
  }

 private:
  absl::Mutex mutex_;  // held while listeners are called
  std::map<int, std::function<void()>> listeners_ ABSL_GUARDED_BY(mutex_);
  int last_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_LISTENERS_H_
