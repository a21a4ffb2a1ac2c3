#ifndef LONGWAVE_SERVER_BATCHING_WORK_ITEM_H_
#define LONGWAVE_SERVER_BATCHING_WORK_ITEM_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace longwave {

// What the batcher knows of the time that an item took.
struct ItemTiming {
  absl::Duration queue;  // from being scheduled to the start of its batch, or to leaving the queue
  absl::Duration compute;  // of the batch that it was part of, without the gaps it left to others;
                           // zero if it never started
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

  // Memory that the item holds while it waits. Constant.
  virtual int64_t bytes() const { return tokens() * static_cast<int64_t>(sizeof(int32_t)); }

  // The item is finished: OK when the executor has put a result into it; the executor's error; or
  //   DEADLINE_EXCEEDED, CANCELLED  nobody waits for the result any more, whether there is one or
  //   not UNAVAILABLE                   the batcher stopped before the item was computed
  //   OUT_OF_RANGE                  the item alone needs more memory than there is
  //   RESOURCE_EXHAUSTED            the item alone was too much for the device's memory
  // Called without any lock of the batcher, on whichever thread ended the item. Must not block and
  // must not throw.
  virtual void Done(const absl::Status& status, const ItemTiming& timing) = 0;
};

// An item that is finished, on its way to its Done().
struct Ending {
  std::unique_ptr<WorkItem> item;
  absl::Status status;
  ItemTiming timing;
};

inline void Deliver(std::vector<Ending> endings) {
  for (Ending& ending : endings) ending.item->Done(ending.status, ending.timing);
}

// Which of a client's own items go first. Low ones also leave more of the device to other clients.
enum class Priority { kLow, kNormal, kHigh };
inline constexpr int kPriorityCount = 3;

// The items of one request: admitted or refused together, with one deadline.
struct WorkGroup {
  std::vector<std::unique_ptr<WorkItem>> items;  // at least one
  absl::Time deadline = absl::InfiniteFuture();  // of the batcher's clock
  uint64_t client = 0;                           // who is served in turn with other clients
  double weight = 1;  // of the client's turn, above 0; the newest group's counts
  Priority priority = Priority::kNormal;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_WORK_ITEM_H_
