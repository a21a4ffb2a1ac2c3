#include "server/batching/scheduler.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "server/batching/retry_delay.h"

namespace longwave {
namespace {

// A client may fill four times as much of the queue as it leaves free, so there is always room for
// others (dynamic thresholds: Choudhury, Hahne, 1998).
constexpr int64_t kRoomFactor = 4;

// After a batch ran out of memory, estimates are raised; each batch that fits lowers them again.
constexpr double kMemoryStep = 1.25;
constexpr double kMostMemoryFactor = 4;
constexpr double kMemoryRecovery = 0.99;

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

// --- Admission ---

Lane Scheduler::LaneOf(int64_t tokens, double cost) const {
  const bool is_long = tokens > options_.long_item_tokens ||
                       (meter_.known() && meter_.BatchTime(cost) > options_.long_item_time);
  return is_long ? Lane::kLong : Lane::kShort;
}

int64_t Scheduler::SmallestMemory() const {
  int64_t smallest = 0;
  for (const Worker& worker : workers_) {
    const int64_t total = worker.memory->total();
    if (total > 0 && (smallest == 0 || total < smallest)) smallest = total;
  }
  return smallest;
}

absl::StatusOr<GroupId> Scheduler::Admit(WorkGroup& group, absl::Time now,
                                         std::vector<Ending>& endings) {
  Refusal reason = Refusal::kQueueFull;
  absl::Status status = CheckAdmission(group, now, reason);
  if (absl::IsResourceExhausted(status)) {
    Expire(now, endings);  // work that nobody waits for must not keep others out
    ReportToGates(now);
    status = CheckAdmission(group, now, reason);
  }
  if (!status.ok()) {
    observer_->OnRefused(reason);
    return status;
  }

  auto owned = std::make_unique<Group>();
  Group& admitted = *owned;
  admitted.id = ++last_group_;
  admitted.deadline = group.deadline;
  admitted.queued_at = now;
  admitted.items = std::vector<Item>(group.items.size());
  admitted.live = group.items.size();
  groups_.emplace(admitted.id, std::move(owned));
  if (group.deadline < absl::InfiniteFuture()) {
    admitted.expiry = deadlines_.emplace(group.deadline, &admitted);
  }
  const GroupId id = admitted.id;
  const int64_t smallest = SmallestMemory();
  Executor& executor = *workers_[0].executor;
  std::vector<std::pair<Item*, int64_t>> too_large;
  for (size_t i = 0; i < group.items.size(); ++i) {
    Item& item = admitted.items[i];
    item.work = std::move(group.items[i]);
    item.group = &admitted;
    item.tokens = item.work->tokens();
    item.bytes = item.work->bytes();
    item.cost = executor.PredictMilliseconds(item.tokens);
    item.lane = LaneOf(item.tokens, item.cost);
    item.entry = {group.client, group.weight, group.priority, item.cost, &item};
    const int64_t memory = executor.EstimateMemory(BatchSize().With(item.tokens));
    if (smallest > 0 && memory > smallest) {
      too_large.emplace_back(&item, memory);
      continue;
    }
    queues_[Index(item.lane)].Push(item.entry);
    CountIn(item);
  }
  for (const auto& [item, memory] : too_large) {
    observer_->OnItemDropped(Drop::kMemory);
    End(*item,
        absl::OutOfRangeError(absl::StrCat("the input has ", item->tokens, " tokens, which need ",
                                           memory, " bytes of memory; the server has ", smallest)),
        absl::ZeroDuration(), endings);
  }
  ReportToGates(now);
  return id;
}

absl::Status Scheduler::CheckAdmission(const WorkGroup& group, absl::Time now, Refusal& reason) {
  reason = Refusal::kDraining;
  if (!admitting_) return absl::UnavailableError("the server is draining; try another one");
  reason = Refusal::kDeadline;
  if (group.deadline <= now) {
    return absl::DeadlineExceededError("the deadline had passed before the request was queued");
  }
  QueueSize size;
  for (const std::unique_ptr<WorkItem>& item : group.items) {
    size.tokens += item->tokens();
    size.bytes += item->bytes();
    ++size.items;
  }
  reason = Refusal::kTooLarge;
  if (size.tokens > options_.max_queue_tokens || size.items > options_.max_queue_items ||
      size.bytes > options_.max_queue_bytes) {
    return absl::OutOfRangeError(absl::StrCat(
        "the request has ", size.tokens, " tokens in ", size.items, " inputs of ", size.bytes,
        " bytes; the queue holds at most ", options_.max_queue_tokens, " tokens, ",
        options_.max_queue_items, " inputs and ", options_.max_queue_bytes,
        " bytes: send several smaller requests"));
  }
  reason = Refusal::kQueueFull;
  if (absl::Status status = CheckRoom(group, size); !status.ok()) return status;
  reason = Refusal::kDeadline;
  return CheckDeadline(group, now);
}

absl::Status Scheduler::CheckRoom(const WorkGroup& group, const QueueSize& size) const {
  const auto client = waiting_by_client_.find(group.client);
  const QueueSize own = client == waiting_by_client_.end() ? QueueSize() : client->second;
  // How much must leave first, as a part of what waits.
  double excess = 0;
  const auto check = [&](int64_t waiting, int64_t of_client, int64_t more, int64_t limit) {
    int64_t over = waiting + more - limit;
    if (over <= 0 && of_client > 0) over = of_client + more + kRoomFactor * over;
    if (over > 0) {
      excess = std::max(excess, static_cast<double>(std::min(over, waiting)) /
                                    static_cast<double>(waiting));
    }
  };
  check(waiting_.tokens, own.tokens, size.tokens, options_.max_queue_tokens);
  check(waiting_.items, own.items, size.items, options_.max_queue_items);
  check(waiting_.bytes, own.bytes, size.bytes, options_.max_queue_bytes);
  if (excess == 0) return absl::OkStatus();
  const double rate = meter_.known() ? meter_.TokensPerSecond() : 0;
  const double tokens = excess * static_cast<double>(waiting_.tokens);
  return BusyError(
      absl::StrCat("the queue is full: ", waiting_.tokens, " tokens in ", waiting_.items,
                   " inputs are waiting, ", own.tokens, " tokens in ", own.items,
                   " of them of this client, the request has ", size.tokens, " tokens in ",
                   size.items, "; the limits are ", options_.max_queue_tokens, " tokens, ",
                   options_.max_queue_items, " inputs and ", options_.max_queue_bytes, " bytes"),
      rate > 0 ? absl::Seconds(tokens / (rate * static_cast<double>(workers_.size())))
               : kUnknownRetryDelay);
}

absl::Status Scheduler::CheckDeadline(const WorkGroup& group, absl::Time now) {
  if (options_.deadline_margin == 0 || group.deadline == absl::InfiniteFuture() ||
      !meter_.known()) {
    return absl::OkStatus();
  }
  std::array<double, kLaneCount> costs{};
  double most = 0;
  for (const std::unique_ptr<WorkItem>& item : group.items) {
    const double cost = workers_[0].executor->PredictMilliseconds(item->tokens());
    costs[Index(LaneOf(item->tokens(), cost))] += cost;
    most = std::max(most, cost);
  }
  const absl::Duration left = group.deadline - now;
  const absl::Duration least = meter_.BatchTime(most);
  if (least > left) {
    meter_.OnRefusal();
    return absl::DeadlineExceededError(
        absl::StrCat("the longest input alone takes about ", absl::FormatDuration(least),
                     ", but the deadline is in ", absl::FormatDuration(left)));
  }
  if (idle()) return absl::OkStatus();
  absl::Duration predicted;
  for (const Lane lane : {Lane::kShort, Lane::kLong}) {
    const double cost = costs[Index(lane)];
    if (cost > 0) predicted = std::max(predicted, LaneTime(lane, group, cost, now));
  }
  predicted = options_.deadline_margin * predicted;
  if (predicted <= left) return absl::OkStatus();
  return BusyError(absl::StrCat("the server is too busy to meet the deadline: it is in ",
                                absl::FormatDuration(left), ", the answer would take up to ",
                                absl::FormatDuration(predicted)),
                   predicted - left);
}

absl::Duration Scheduler::LaneTime(Lane lane, const WorkGroup& group, double cost,
                                   absl::Time now) const {
  const auto work = [&](double ms) { return meter_.WorkTime(ms, options_.max_batch_time); };
  absl::Duration time =
      work(queues_[Index(lane)].BacklogUpTo(group.client, group.weight, cost));
  if (lane == Lane::kLong) time += work(queues_[Index(Lane::kShort)].backlog());
  for (const auto& [id, batch] : running_) {
    if (batch.lane == Lane::kLong && lane == Lane::kShort) continue;
    const absl::Time end = batch.gap_from.value_or(now);
    time += std::max(absl::ZeroDuration(), batch.predicted - (end - batch.start - batch.paused));
  }
  time /= static_cast<double>(workers_.size());
  if (lane == Lane::kShort && std::any_of(gates_.begin(), gates_.end(), [](const LaneGate* gate) {
        return gate->has_long();
      })) {
    time /= 1 - options_.long_lane_share;
  }
  return std::max(time, work(cost) / static_cast<double>(workers_.size()));
}

// --- Batches ---

bool Scheduler::HasBatch(int worker, Lane lane) const {
  return std::any_of(running_.begin(), running_.end(), [worker, lane](const auto& entry) {
    return entry.second.worker == worker && entry.second.lane == lane;
  });
}

bool Scheduler::CanStart(int worker, Lanes lanes) const {
  const Flags& blocked = blocked_[static_cast<size_t>(worker)];
  const auto can = [&](Lane lane) { return LaneHasWork(lane) && !blocked.lane[Index(lane)]; };
  return (lanes != Lanes::kLong && can(Lane::kShort)) ||
         (lanes != Lanes::kShort && can(Lane::kLong));
}

std::optional<Batch> Scheduler::Start(int worker, Lanes lanes, BatchId within, absl::Time now,
                                      std::vector<Ending>& endings) {
  Expire(now, endings);
  std::optional<Batch> started = StartNext(worker, lanes, within, now, endings);
  ReportToGates(now);
  return started;
}

std::optional<Batch> Scheduler::StartNext(int worker, Lanes lanes, BatchId within, absl::Time now,
                                          std::vector<Ending>& endings) {
  const auto w = static_cast<size_t>(worker);
  std::array<Lane, kLaneCount> order = {Lane::kShort, Lane::kLong};
  if (lanes == Lanes::kBoth && gates_[w]->IsLongOwed(now)) std::swap(order[0], order[1]);
  for (const Lane lane : order) {
    if (lanes != Lanes::kBoth && lanes != (lane == Lane::kShort ? Lanes::kShort : Lanes::kLong)) {
      continue;
    }
    if (!LaneHasWork(lane) || blocked_[w].lane[Index(lane)]) continue;
    Running batch;
    batch.worker = worker;
    batch.lane = lane;
    batch.within = within;
    batch.start = now;
    if (!(retries_[Index(lane)].empty() ? FormNew(batch, now, endings) : FormRetry(batch, now))) {
      continue;
    }
    WithdrawClaims(lane);
    if (meter_.known()) batch.predicted = meter_.BatchTime(batch.cost);
    if (within != 0) {
      running_.at(within).gap_from = now;
      observer_->OnYield();
    }
    Batch started{++last_batch_, worker, lane, {}};
    for (const Item* item : batch.items) started.items.push_back(item->work.get());
    running_.emplace(started.id, std::move(batch));
    return started;
  }
  return std::nullopt;
}

bool Scheduler::FormNew(Running& batch, absl::Time now, std::vector<Ending>& endings) {
  FairQueue& queue = queues_[Index(batch.lane)];
  MemoryBudget& budget = *workers_[static_cast<size_t>(batch.worker)].memory;
  const bool* claim = &claims_[static_cast<size_t>(batch.worker)].lane[Index(batch.lane)];
  while (FairQueue::Entry* entry = queue.Front()) {
    Item& item = *static_cast<Item*>(entry->owner);
    if (options_.deadline_margin > 0 && meter_.known() &&
        item.group->deadline < now + meter_.BatchTime(item.cost)) {
      meter_.OnRefusal();
      EndWaiting(item, absl::DeadlineExceededError("the deadline could no longer be met"),
                 Drop::kExpired, now, endings);
      continue;
    }
    const BatchSize size = batch.size.With(item.tokens);
    const int64_t bytes = Estimate(batch.worker, size);
    if (batch.items.empty()) {
      if (!Reserve(batch, bytes)) return false;
    } else {
      if (size.items > options_.max_batch_items || size.tokens > options_.max_batch_tokens) break;
      if (meter_.known() && meter_.BatchTime(batch.cost + item.cost) > options_.max_batch_time) {
        break;
      }
      const int64_t more = std::max<int64_t>(0, bytes - batch.memory);
      if (!budget.Extend(claim, more)) break;
      batch.memory += more;
    }
    queue.PopFront();
    Add(batch, item, now);
  }
  return !batch.items.empty();
}

bool Scheduler::FormRetry(Running& batch, absl::Time now) {
  std::list<std::vector<Item*>>& retries = retries_[Index(batch.lane)];
  const std::vector<Item*> items = retries.front();
  BatchSize size;
  bool alone = false;
  for (const Item* item : items) {
    size = size.With(item->tokens);
    alone |= item->alone;
  }
  const int64_t total = workers_[static_cast<size_t>(batch.worker)].memory->total();
  if (!Reserve(batch, alone ? total : Estimate(batch.worker, size))) return false;
  retries.pop_front();
  for (Item* item : items) Add(batch, *item, now);
  return true;
}

void Scheduler::Add(Running& batch, Item& item, absl::Time now) {
  CountOut(item, now);
  item.state = State::kRunning;
  batch.size = batch.size.With(item.tokens);
  batch.cost += item.cost;
  batch.items.push_back(&item);
}

int64_t Scheduler::Estimate(int worker, const BatchSize& size) const {
  const Worker& on = workers_[static_cast<size_t>(worker)];
  const auto bytes = static_cast<int64_t>(
      static_cast<double>(on.executor->EstimateMemory(size)) * memory_factor_);
  // An item that should fit by itself must not wait forever because an estimate was raised.
  const int64_t total = on.memory->total();
  return size.items == 1 && total > 0 ? std::min(bytes, total) : bytes;
}

bool Scheduler::Reserve(Running& batch, int64_t bytes) {
  const auto w = static_cast<size_t>(batch.worker);
  MemoryBudget& budget = *workers_[w].memory;
  // A batch that is split again and again ends in items of which each fits.
  if (budget.total() > 0) bytes = std::min(bytes, budget.total());
  bool& claim = claims_[w].lane[Index(batch.lane)];
  claim = !budget.Reserve(&claim, bytes);
  blocked_[w].lane[Index(batch.lane)] = claim;
  if (!claim) batch.memory = bytes;
  return !claim;
}

void Scheduler::WithdrawClaims(Lane lane) {
  for (size_t w = 0; w < workers_.size(); ++w) {
    blocked_[w].lane[Index(lane)] = false;
    bool& claim = claims_[w].lane[Index(lane)];
    if (std::exchange(claim, false)) memory_released_ |= workers_[w].memory->Withdraw(&claim);
  }
}

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
  return gates_[w]->MayGoOn(now) || WantedUntil(id) == absl::InfinitePast() ||
         ShouldYield(id, now);
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

void Scheduler::Finish(BatchId id, const std::vector<absl::Status>& statuses,
                       const absl::Status& failure, absl::Time now,
                       std::vector<Ending>& endings) {
  const auto found = running_.find(id);
  const Running batch = std::move(found->second);
  running_.erase(found);
  const auto w = static_cast<size_t>(batch.worker);
  const absl::Duration compute = now - batch.start - batch.paused;
  MemoryBudget& budget = *workers_[w].memory;
  const bool had_all_memory = budget.reserved() == batch.memory;
  budget.Release(batch.memory);
  memory_released_ = true;
  OnMemoryChange();
  if (batch.within != 0) {
    Running& outer = running_.at(batch.within);
    outer.paused += now - *std::exchange(outer.gap_from, std::nullopt);
  }
  if (batch.lane == Lane::kShort) gates_opened_ |= gates_[w]->OnShortDone(compute, now);
  observer_->OnBatchDone(batch.worker, batch.lane, batch.size.items, batch.size.tokens, compute);

  std::vector<Item*> failed;
  absl::Status reason = failure;
  int64_t wasted = 0;
  bool computed = failure.ok();
  for (size_t i = 0; i < batch.items.size(); ++i) {
    Item& item = *batch.items[i];
    const absl::Status& status = failure.ok() ? statuses[i] : failure;
    if (absl::Status unwanted = Unwanted(item, now); !unwanted.ok()) {
      computed &= !absl::IsCancelled(status);
      ++wasted;
      End(item, unwanted, compute, endings);
    } else if (!failure.ok() || absl::IsResourceExhausted(status)) {
      reason = status;
      failed.push_back(&item);
    } else {
      End(item, status, compute, endings);
    }
  }
  if (wasted > 0) observer_->OnItemsWasted(wasted);
  if (computed && failed.empty()) {
    meter_.OnBatch(batch.cost, batch.size.tokens, compute);
    memory_factor_ = std::max(1.0, memory_factor_ * kMemoryRecovery);
  }
  if (!failed.empty()) {
    RetryOrEnd(batch, std::move(failed), reason, had_all_memory, compute, endings);
  }
  ReportToGates(now);
}

void Scheduler::RetryOrEnd(const Running& batch, std::vector<Item*> items,
                           const absl::Status& failure, bool had_all_memory,
                           absl::Duration compute, std::vector<Ending>& endings) {
  const bool out_of_memory = absl::IsResourceExhausted(failure);
  if (batch.items.size() > 1) {
    if (out_of_memory) memory_factor_ = std::min(kMostMemoryFactor, memory_factor_ * kMemoryStep);
    observer_->OnBatchSplit();
    const auto half = items.begin() + static_cast<std::ptrdiff_t>(items.size() / 2);
    QueueRetry({half, items.end()});
    QueueRetry({items.begin(), half});
    return;
  }
  Item& item = *items[0];
  if (out_of_memory && !item.alone && !had_all_memory) {  // once more, with nobody beside it
    item.alone = true;
    QueueRetry(std::move(items));
    return;
  }
  End(item,
      out_of_memory ? absl::ResourceExhaustedError(absl::StrCat(
                          "the input of ", item.tokens,
                          " tokens does not fit into the device's memory: ", failure.message()))
                    : failure,
      compute, endings);
}

void Scheduler::QueueRetry(std::vector<Item*> items) {
  if (items.empty()) return;
  std::list<std::vector<Item*>>& retries = retries_[Index(items[0]->lane)];
  retries.push_front(std::move(items));
  for (Item* item : retries.front()) {
    item->state = State::kRetrying;
    item->retry = retries.begin();
    CountIn(*item);
  }
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
  WithdrawClaims(lane);  // it may have been for this item
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
