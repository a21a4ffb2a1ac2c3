#include "server/batching/work_queue.h"

#include <utility>

namespace longwave {

GroupId WorkQueue::Push(WorkGroup group, absl::Time now) {
  const GroupId id = ++last_id_;
  for (const std::unique_ptr<WorkItem>& item : group.items) tokens_ += item->tokens();
  items_ += static_cast<int64_t>(group.items.size());
  groups_.push_back({id, std::move(group), now});
  by_id_.emplace(id, std::prev(groups_.end()));
  return id;
}

void WorkQueue::TakeNext(Group& group, absl::Time now, std::vector<DequeuedItem>& out) {
  std::unique_ptr<WorkItem>& item = group.work.items[group.next++];
  tokens_ -= item->tokens();
  --items_;
  out.push_back({std::move(item), now - group.queued_at});
}

WorkQueue::Groups::iterator WorkQueue::Remove(Groups::iterator group, absl::Time now,
                                              std::vector<DequeuedItem>& out) {
  while (group->next < group->work.items.size()) TakeNext(*group, now, out);
  by_id_.erase(group->id);
  return groups_.erase(group);
}

std::vector<DequeuedItem> WorkQueue::TakeBatch(int64_t max_tokens, int64_t max_items,
                                               absl::Time now) {
  std::vector<DequeuedItem> batch;
  int64_t tokens = 0;
  while (!groups_.empty()) {
    Group& front = groups_.front();
    const int64_t cost = front.work.items[front.next]->tokens();
    const bool fits = tokens + cost <= max_tokens && static_cast<int64_t>(batch.size()) < max_items;
    if (!batch.empty() && !fits) break;
    tokens += cost;
    TakeNext(front, now, batch);
    if (front.next == front.work.items.size()) Remove(groups_.begin(), now, batch);
  }
  return batch;
}

std::vector<DequeuedItem> WorkQueue::TakeGroup(GroupId id, absl::Time now) {
  std::vector<DequeuedItem> taken;
  if (auto found = by_id_.find(id); found != by_id_.end()) Remove(found->second, now, taken);
  return taken;
}

std::vector<DequeuedItem> WorkQueue::TakeExpired(absl::Time now) {
  std::vector<DequeuedItem> taken;
  for (auto group = groups_.begin(); group != groups_.end();) {
    group = group->work.deadline <= now ? Remove(group, now, taken) : std::next(group);
  }
  return taken;
}

std::vector<DequeuedItem> WorkQueue::TakeAll(absl::Time now) {
  std::vector<DequeuedItem> taken;
  while (!groups_.empty()) Remove(groups_.begin(), now, taken);
  return taken;
}

}  // namespace longwave
