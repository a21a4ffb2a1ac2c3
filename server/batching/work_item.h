#ifndef LONGWAVE_SERVER_BATCHING_WORK_ITEM_H_
#define LONGWAVE_SERVER_BATCHING_WORK_ITEM_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace longwave {

// What the batcher knows of the time that an item took.
struct ItemTiming {
  absl::Duration queue;  // from being scheduled to the start of its batch, or to leaving the queue
  absl::Duration compute;  // of the batch that it was part of; zero if it never started
};

// One sequence to compute. A subclass carries the input and receives the result from the executor
// that understands it.
//
// The batcher owns an item from the moment Schedule() returns OK until Done() has returned; Done()
// is called exactly once.
class WorkItem {
 public:
  virtual ~WorkItem() = default;

  // Cost in tokens, at least 1. Constant.
  virtual int64_t tokens() const = 0;

  // The item is finished: OK when the executor has put a result into it; the executor's error; or,
  // if it never started, DEADLINE_EXCEEDED, CANCELLED or UNAVAILABLE. Called without any lock of
  // the batcher, on whichever thread ended the item. Must not block and must not throw.
  virtual void Done(const absl::Status& status, const ItemTiming& timing) = 0;
};

// The items of one request: admitted or refused together, with one deadline.
struct WorkGroup {
  std::vector<std::unique_ptr<WorkItem>> items;  // at least one
  absl::Time deadline = absl::InfiniteFuture();  // of the batcher's clock
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_WORK_ITEM_H_
