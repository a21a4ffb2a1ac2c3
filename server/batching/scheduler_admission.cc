// What is let into the queue.
#include "absl/strings/str_cat.h"
#include "server/batching/retry_delay.h"
#include "server/batching/scheduler.h"

namespace longwave {
namespace {

// A client may fill four times as much of the queue as it leaves free, so there is always room for
// others (dynamic thresholds: Choudhury, Hahne, 1998).
constexpr int64_t kRoomFactor = 4;

}  // namespace

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
    return absl::OutOfRangeError(
        absl::StrCat("the request has ", size.tokens, " tokens in ", size.items, " inputs of ",
                     size.bytes, " bytes; the queue holds at most ", options_.max_queue_tokens,
                     " tokens, ", options_.max_queue_items, " inputs and ",
                     options_.max_queue_bytes, " bytes: send several smaller requests"));
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
      excess = std::max(
          excess, static_cast<double>(std::min(over, waiting)) / static_cast<double>(waiting));
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
  const absl::Duration least = meter_.LeastTime(most);
  if (least > left) {
    if (idle()) meter_.OnRefusal();
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
  // No RetryDelay(): as the queue drains the deadline comes nearer by as much.
  return absl::ResourceExhaustedError(absl::StrCat(
      "the server is too busy to meet the deadline: it is in ", absl::FormatDuration(left),
      ", the answer would take up to ", absl::FormatDuration(predicted)));
}

absl::Duration Scheduler::LaneTime(Lane lane, const WorkGroup& group, double cost,
                                   absl::Time now) const {
  const auto work = [&](double ms) { return meter_.WorkTime(ms, options_.max_batch_time); };
  absl::Duration time = work(queues_[Index(lane)].BacklogUpTo(group.client, group.weight, cost));
  if (lane == Lane::kLong) time += work(queues_[Index(Lane::kShort)].backlog());
  for (const auto& [id, batch] : running_) {
    if (batch.lane == Lane::kLong && lane == Lane::kShort) continue;
    const absl::Time end = batch.gap_from.value_or(now);
    time += std::max(absl::ZeroDuration(), batch.predicted - (end - batch.start - batch.paused));
  }
  time /= static_cast<double>(workers_.size());
  if (lane == Lane::kShort && std::any_of(gates_.begin(), gates_.end(),
                                          [](const LaneGate* gate) { return gate->has_long(); })) {
    time /= 1 - options_.long_lane_share;
  }
  return std::max(time, work(cost) / static_cast<double>(workers_.size()));
}

}  // namespace longwave
