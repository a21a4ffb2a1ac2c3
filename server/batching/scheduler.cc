#include "server/batching/scheduler.h"

namespace longwave {
namespace {

absl::Status ExpiredInQueue() {
  return absl::DeadlineExceededError("the deadline passed in the queue");
}

}  // namespace

Scheduler::Scheduler(const BatchingOptions& options, std::vector<Worker> workers,
                     BatchObserver* observer)
    : options_(options),
      workers_(std::move(workers)),
      observer_(observer),
      blocked_(workers_.size()),
      claims_(workers_.size()),
      reported_(workers_.size()) {
  for (const Worker& worker : workers_) {
    gates_.push_back(worker.gate != nullptr
                         ? worker.gate
                         : &own_gates_.emplace_back(options_, worker.executor->shares_device()));
    members_.push_back(gates_.back()->Join());
  }
}

Scheduler::~Scheduler() {
  for (const Lane lane : {Lane::kShort, Lane::kLong}) WithdrawClaims(lane);
  for (size_t w = 0; w < workers_.size(); ++w) gates_[w]->Leave(members_[w], last_report_);
}

// --- Lanes ---

absl::Time Scheduler::WantedUntil(BatchId id) const {
  absl::Time until = absl::InfinitePast();
  for (const Item* item : running_.at(id).items) {
    if (!item->group->cancelled) until = std::max(until, item->group->deadline);
  }
  return until;
}

void Scheduler::ReportToGates(absl::Time now) {
  last_report_ = now;
  for (size_t w = 0; w < workers_.size(); ++w) {
    const int worker = static_cast<int>(w);
    LaneGate::State state;
    state.short_work = HasShortWork(worker);
    state.long_work = LaneHasWork(Lane::kLong);
    for (const auto& [id, batch] : running_) {
      if (batch.worker != worker || batch.lane != Lane::kLong) continue;
      state.long_work = true;
      ++(batch.gap_from.has_value() ? state.stopped : state.going);
    }
    if (state == reported_[w]) continue;
    gates_opened_ |= gates_[w]->Update(members_[w], state, now);
    reported_[w] = state;
  }
}

bool Scheduler::ShouldYield(BatchId id, absl::Time now) const {
  const Running& batch = running_.at(id);
  const auto w = static_cast<size_t>(batch.worker);
  return batch.lane == Lane::kLong && !workers_[w].executor->shares_device() &&
         CanStart(batch.worker, Lanes::kShort) && !gates_[w]->MayGoOn(now);
}

bool Scheduler::ShouldPause(BatchId id, absl::Time now) const {
  return running_.at(id).lane == Lane::kLong && !MayResume(id, now);
}

bool Scheduler::MayResume(BatchId id, absl::Time now) const {
  const auto w = static_cast<size_t>(running_.at(id).worker);
  return gates_[w]->MayGoOn(now) || WantedUntil(id) == absl::InfinitePast() || ShouldYield(id, now);
}

void Scheduler::OnPause(BatchId id, absl::Time now) {
  running_.at(id).gap_from = now;
  ReportToGates(now);
}

void Scheduler::OnResume(BatchId id, absl::Time now) {
  Running& batch = running_.at(id);
  batch.paused += now - *std::exchange(batch.gap_from, std::nullopt);
  ReportToGates(now);
}

// --- Ends ---

void Scheduler::Cancel(GroupId id, absl::Time now, std::vector<Ending>& endings) {
  const auto found = groups_.find(id);
  if (found == groups_.end()) return;
  found->second->cancelled = true;
  EndWaiting(*found->second, absl::CancelledError("cancelled in the queue"), Drop::kCancelled, now,
             endings);
  ReportToGates(now);
}

void Scheduler::DropWaiting(absl::Time now, std::vector<Ending>& endings) {
  std::vector<Group*> groups;
  for (const auto& [id, group] : groups_) groups.push_back(group.get());
  for (Group* group : groups) {
    EndWaiting(*group, absl::UnavailableError("the server stopped before the input was computed"),
               Drop::kDraining, now, endings);
  }
  ReportToGates(now);
}

void Scheduler::Expire(absl::Time now, std::vector<Ending>& endings) {
  while (!deadlines_.empty() && deadlines_.begin()->first <= now) {
    Group& group = *deadlines_.begin()->second;
    group.expiry.reset();
    deadlines_.erase(deadlines_.begin());
    EndWaiting(group, ExpiredInQueue(), Drop::kExpired, now, endings);
  }
}

void Scheduler::EndWaiting(Group& group, const absl::Status& status, Drop reason, absl::Time now,
                           std::vector<Ending>& endings) {
  std::vector<Item*> waiting;
  for (Item& item : group.items) {
    if (item.state == State::kQueued || item.state == State::kRetrying) waiting.push_back(&item);
  }
  for (Item* item : waiting) EndWaiting(*item, status, reason, now, endings);
}

void Scheduler::EndWaiting(Item& item, const absl::Status& status, Drop reason, absl::Time now,
                           std::vector<Ending>& endings) {
  const Lane lane = item.lane;
  if (item.state == State::kQueued) {
    queues_[Index(lane)].Erase(item.entry);
  } else {
    std::vector<Item*>& batch = *item.retry;
    batch.erase(std::find(batch.begin(), batch.end(), &item));
    if (batch.empty()) retries_[Index(lane)].erase(item.retry);
  }
  CountOut(item, now);
  observer_->OnItemDropped(reason);
  End(item, status, absl::ZeroDuration(), endings);
  // A claim may have been for this item: nobody is left to need it, or its worker asks anew for the
  // next, in the claim's old place.
  if (LaneHasWork(lane)) {
    for (Flags& blocked : blocked_) blocked.lane[Index(lane)] = false;
  } else {
    WithdrawClaims(lane);
  }
}

void Scheduler::End(Item& item, const absl::Status& status, absl::Duration compute,
                    std::vector<Ending>& endings) {
  item.state = State::kEnded;
  endings.push_back({std::move(item.work), status, {item.waited, compute}});
  Group& group = *item.group;
  if (--group.live > 0) return;
  if (group.expiry.has_value()) deadlines_.erase(*group.expiry);
  groups_.erase(group.id);
}

absl::Status Scheduler::Unwanted(const Item& item, absl::Time now) {
  if (item.group->cancelled) return absl::CancelledError("cancelled while it was computed");
  if (item.group->deadline <= now) {
    return absl::DeadlineExceededError("the deadline passed while the input was computed");
  }
  return absl::OkStatus();
}

void Scheduler::CountIn(const Item& item) {
  for (QueueSize* size : {&waiting_, &waiting_by_client_[item.entry.client]}) {
    size->tokens += item.tokens;
    size->bytes += item.bytes;
    ++size->items;
  }
  observer_->OnQueueChange(item.tokens, 1);
}

void Scheduler::CountOut(Item& item, absl::Time now) {
  const auto client = waiting_by_client_.find(item.entry.client);
  for (QueueSize* size : {&waiting_, &client->second}) {
    size->tokens -= item.tokens;
    size->bytes -= item.bytes;
    --size->items;
  }
  if (client->second.items == 0) waiting_by_client_.erase(client);
  item.waited = now - item.group->queued_at;
  observer_->OnItemDequeued(item.waited);
  observer_->OnQueueChange(-item.tokens, -1);
}

}  // namespace longwave
