#include "server/batching/fair_queue.h"

#include <algorithm>
#include <utility>

namespace longwave {
namespace {

constexpr std::array<double, kPriorityCount> kLevelWeight = {1, 4, 16};
constexpr double kLowPriorityCharge = 4;

}  // namespace

const FairQueue::Level& FairQueue::Client::NextLevel() const {
  const Level* next = nullptr;
  for (int level = kPriorityCount - 1; level >= 0; --level) {  // of equals the highest
    if (levels[level].entries.empty()) continue;
    if (next == nullptr || levels[level].start < next->start) next = &levels[level];
  }
  return *next;
}

double FairQueue::Client::NextFinish() const {
  const Entry& next = *NextLevel().entries.front();
  const double charge = next.priority == Priority::kLow ? kLowPriorityCharge : 1;
  return finish + next.cost * charge / weight;
}

void FairQueue::Push(Entry& entry) {
  const auto [found, is_new] = clients_.try_emplace(entry.client);
  Client& client = found->second;
  if (is_new) {
    client.id = entry.client;
    client.finish = time_;
    client.sequence = ++last_sequence_;
  } else {
    ready_.erase(Position(client));
  }
  client.weight = entry.weight;
  Level& level = client.levels[static_cast<size_t>(entry.priority)];
  if (level.entries.empty()) level.start = std::max(level.start, client.level_time);
  entry.queued_with = &client;
  entry.position = level.entries.insert(level.entries.end(), &entry);
  ++client.entries;
  client.backlog += entry.cost;
  backlog_ = ready_.empty() && is_new ? entry.cost : backlog_ + entry.cost;
  ready_.emplace(Position(client), &client);
}

FairQueue::Entry* FairQueue::Front() const {
  return ready_.empty() ? nullptr : ready_.begin()->second->NextLevel().entries.front();
}

void FairQueue::PopFront() {
  Client& client = *ready_.begin()->second;
  Entry& entry = *client.NextLevel().entries.front();
  time_ = client.finish = client.NextFinish();
  ready_.erase(ready_.begin());
  client.sequence = ++last_sequence_;
  Level& level = client.levels[static_cast<size_t>(entry.priority)];
  client.level_time = level.start;
  level.start += entry.cost / kLevelWeight[static_cast<size_t>(entry.priority)];
  Remove(entry);
}

void FairQueue::Erase(Entry& entry) {
  ready_.erase(Position(*entry.queued_with));
  Remove(entry);
}

void FairQueue::Remove(Entry& entry) {
  Client& client = *std::exchange(entry.queued_with, nullptr);
  client.levels[static_cast<size_t>(entry.priority)].entries.erase(entry.position);
  client.backlog -= entry.cost;
  backlog_ -= entry.cost;
  if (--client.entries > 0) {
    ready_.emplace(Position(client), &client);
  } else {
    // It has no advantage of being forgotten: `time_` is not behind its finish.
    clients_.erase(client.id);
  }
  if (clients_.empty()) time_ = backlog_ = 0;
}

double FairQueue::BacklogUpTo(uint64_t id, double weight, double cost) const {
  double own = cost;
  if (const auto found = clients_.find(id); found != clients_.end()) own += found->second.backlog;
  double sum = own;
  for (const auto& [other, client] : clients_) {
    if (other != id) sum += std::min(client.backlog, own * client.weight / weight);
  }
  return sum;
}

}  // namespace longwave
