// What is computed together, in which memory, and what becomes of it.
#include "absl/strings/str_cat.h"
#include "server/batching/scheduler.h"

namespace longwave {
namespace {

// After a batch ran out of memory, estimates are raised; each batch that fits lowers them again.
constexpr double kMemoryStep = 1.25;
constexpr double kMostMemoryFactor = 4;
constexpr double kMemoryRecovery = 0.99;

}  // namespace

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
  int hopeless = 0;
  while (FairQueue::Entry* entry = queue.Front()) {
    Item& item = *static_cast<Item*>(entry->owner);
    if (options_.deadline_margin > 0 && meter_.known() &&
        item.group->deadline < now + meter_.LeastTime(item.cost)) {
      ++hopeless;
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
      if (!budget.Extend(claim, more, batch.lane)) break;
      batch.memory += more;
    }
    queue.PopFront();
    Add(batch, item, now);
  }
  if (batch.items.empty() && idle()) {
    for (; hopeless > 0; --hopeless) meter_.OnRefusal();
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
  const auto bytes =
      static_cast<int64_t>(static_cast<double>(on.executor->EstimateMemory(size)) * memory_factor_);
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
  const bool waited = std::exchange(claim, !budget.Reserve(&claim, bytes, batch.lane));
  if (waited && !claim) {  // it may have been in the way of others
    OnMemoryChange();
    memory_released_ = true;
  }
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

void Scheduler::Finish(BatchId id, const std::vector<absl::Status>& statuses,
                       const absl::Status& failure, absl::Time now, std::vector<Ending>& endings) {
  const auto found = running_.find(id);
  if (found == running_.end()) return;
  const Running batch = std::move(found->second);
  running_.erase(found);
  const auto w = static_cast<size_t>(batch.worker);
  const absl::Duration compute = now - batch.start - batch.paused;
  MemoryBudget& budget = *workers_[w].memory;
  const bool had_all_memory = budget.reserved() == batch.memory;
  memory_released_ |= budget.Release(batch.memory, batch.lane);
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
                           const absl::Status& failure, bool had_all_memory, absl::Duration compute,
                           std::vector<Ending>& endings) {
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

}  // namespace longwave
