#ifndef LONGWAVE_SERVER_BATCHING_WORK_QUEUE_H_
#define LONGWAVE_SERVER_BATCHING_WORK_QUEUE_H_

#include <cstdint>
#include <list>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "server/batching/work_item.h"

namespace longwave {

// Names an admitted group. 0 is never used.
using GroupId = uint64_t;

// An item outside the queue, and how long it was in it.
struct DequeuedItem {
  std::unique_ptr<WorkItem> item;
  absl::Duration waited;
};

// The waiting groups of one batcher, first in, first out. It finishes no item itself: whatever
// leaves is handed to the caller.
//
// Thread-compatible: the batcher guards it with its mutex.
class WorkQueue {
 public:
  // Appends a group and returns its name. Takes ownership.
  GroupId Push(WorkGroup group, absl::Time now);

  // Takes the next batch: items from the front while they fit into `max_tokens` and `max_items`.
  // The first item is taken even if it is larger than the budget, so an oversized one runs alone
  // instead of holding the queue forever. Never leaves an item behind for a smaller one further
  // back, so no item starves. Empty only when the queue is.
  std::vector<DequeuedItem> TakeBatch(int64_t max_tokens, int64_t max_items, absl::Time now);

  // Takes what still waits of a group; nothing if it has none left.
  std::vector<DequeuedItem> TakeGroup(GroupId id, absl::Time now);

  // Takes what still waits of every group whose deadline is at or before `now`.
  std::vector<DequeuedItem> TakeExpired(absl::Time now);

  // Takes everything.
  std::vector<DequeuedItem> TakeAll(absl::Time now);

  bool empty() const { return groups_.empty(); }
  int64_t tokens() const { return tokens_; }
  int64_t items() const { return items_; }

 private:
  struct Group {
    GroupId id;
    WorkGroup work;
    absl::Time queued_at;
    size_t next = 0;  // the first item that still waits
  };
  using Groups = std::list<Group>;

  // Moves the rest of a group to `out` and forgets the group. Returns the position after it.
  Groups::iterator Remove(Groups::iterator group, absl::Time now, std::vector<DequeuedItem>& out);
  void TakeNext(Group& group, absl::Time now, std::vector<DequeuedItem>& out);

  Groups groups_;  // none is empty
  absl::flat_hash_map<GroupId, Groups::iterator> by_id_;
  GroupId last_id_ = 0;
  int64_t tokens_ = 0;
  int64_t items_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_WORK_QUEUE_H_
