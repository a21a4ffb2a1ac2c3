#ifndef LONGWAVE_SERVER_BATCHING_BATCH_OBSERVER_H_
#define LONGWAVE_SERVER_BATCHING_BATCH_OBSERVER_H_

#include <cstdint>

#include "absl/time/time.h"

namespace longwave {

// Sees what a batcher does, for metrics. Calls come from several threads at once; they must not
// block, throw, or call the batcher.
class BatchObserver {
 public:
  virtual ~BatchObserver() = default;

  // The queue grew or shrank by so much. The sum of all calls is what waits in the queue now.
  virtual void OnQueueChange(int64_t tokens, int64_t items) = 0;

  // An item left the queue after `waited`: to be computed, or because it was cancelled or expired.
  virtual void OnItemDequeued(absl::Duration waited) = 0;

  // A batch was computed, well or not.
  virtual void OnBatchDone(int64_t items, int64_t tokens, absl::Duration compute) = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_BATCH_OBSERVER_H_
