#ifndef LONGWAVE_SERVER_BATCHING_BATCH_OBSERVER_H_
#define LONGWAVE_SERVER_BATCHING_BATCH_OBSERVER_H_

#include <cstdint>

#include "absl/time/time.h"

namespace longwave {

// Short items are never held up by long ones.
enum class Lane { kShort, kLong };
inline constexpr int kLaneCount = 2;

// Why a group was not let in.
enum class Refusal {
  kQueueFull,
  kDeadline,  // it would have been missed, or had passed
  kTooLarge,  // more than the queue can ever hold
  kDraining,
};
inline constexpr int kRefusalCount = 4;

// Why an item left the queue without being computed.
enum class Drop {
  kExpired,  // its deadline passed, or can no longer be met
  kCancelled,
  kMemory,  // it alone needs more than there is
  kDraining,
};
inline constexpr int kDropCount = 4;

// Sees what a batcher does, for metrics. Calls come from several threads at once; they must not
// block, throw, or call the batcher.
class BatchObserver {
 public:
  virtual ~BatchObserver() = default;

  // The queue grew or shrank by so much. The sum of all calls is what waits in the queue now.
  virtual void OnQueueChange(int64_t tokens, int64_t items) = 0;

  // A group was not let in.
  virtual void OnRefused(Refusal reason) = 0;

  // An item left the queue after `waited`, to be computed or not. An item that is computed again is
  // seen again, with the time since it was scheduled.
  virtual void OnItemDequeued(absl::Duration waited) = 0;

  // That item will not be computed.
  virtual void OnItemDropped(Drop reason) = 0;

  // A batch was computed by a worker, well or not.
  virtual void OnBatchDone(int worker, Lane lane, int64_t items, int64_t tokens,
                           absl::Duration compute) = 0;

  // A batch failed as a whole and will be computed again in parts.
  virtual void OnBatchSplit() = 0;

  // Items were computed, but by then nobody waited for them.
  virtual void OnItemsWasted(int64_t items) = 0;

  // A batch of the long lane let a short one go first.
  virtual void OnYield() = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_BATCH_OBSERVER_H_
