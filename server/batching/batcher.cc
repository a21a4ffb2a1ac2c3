#include "server/batching/batcher.h"

#include <exception>
#include <new>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

absl::Status CheckPositive(absl::string_view name, int64_t value) {
  if (value >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": found ", value, ", expected at least 1"));
}

void FinishAll(std::vector<DequeuedItem>& items, const absl::Status& status) {
  for (DequeuedItem& dequeued : items) {
    dequeued.item->Done(status, {dequeued.waited, absl::ZeroDuration()});
  }
}

// The executor's statuses, one per item whatever it does.
std::vector<absl::Status> RunGuarded(Executor& executor, absl::Span<WorkItem* const> items) {
  absl::Status failure;
  try {
    std::vector<absl::Status> statuses = executor.Run(items);
    if (statuses.size() == items.size()) return statuses;
    failure = absl::InternalError(absl::StrCat("the executor returned ", statuses.size(),
                                               " results for a batch of ", items.size()));
  } catch (const std::bad_alloc&) {
    failure = absl::ResourceExhaustedError("out of memory while computing the batch");
  } catch (const std::exception& e) {
    failure = absl::InternalError(absl::StrCat("computing the batch failed: ", e.what()));
  } catch (...) {
    failure = absl::InternalError("computing the batch failed");
  }
  return std::vector<absl::Status>(items.size(), failure);
}

}  // namespace

absl::Status Batcher::Options::Validate() const {
  absl::Status status = CheckPositive("max_batch_tokens", max_batch_tokens);
  status.Update(CheckPositive("max_batch_items", max_batch_items));
  status.Update(CheckPositive("max_queue_tokens", max_queue_tokens));
  status.Update(CheckPositive("max_queue_items", max_queue_items));
  return status;
}

absl::StatusOr<std::unique_ptr<Batcher>> Batcher::Create(const Options& options, Executor* executor,
                                                         const Clock* clock,
                                                         BatchObserver* observer) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  return absl::WrapUnique(new Batcher(options, executor, clock, observer));
}

Batcher::Batcher(const Options& options, Executor* executor, const Clock* clock,
                 BatchObserver* observer)
    : options_(options), executor_(executor), clock_(clock), observer_(observer) {
  thread_ = std::thread([this] { ThreadLoop(); });
}

Batcher::~Batcher() {
  Drain(absl::InfinitePast()).IgnoreError();
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
  }
  thread_.join();
}

absl::Status Batcher::CheckAdmission(const WorkGroup& group, absl::Time now) {
  if (!admitting_) return absl::UnavailableError("the server is draining; try another one");
  if (group.deadline <= now) {
    return absl::DeadlineExceededError("the deadline had passed before the request was queued");
  }
  int64_t tokens = 0;
  for (const std::unique_ptr<WorkItem>& item : group.items) tokens += item->tokens();
  const int64_t items = static_cast<int64_t>(group.items.size());
  if (tokens > options_.max_queue_tokens || items > options_.max_queue_items) {
    return absl::OutOfRangeError(
        absl::StrCat("the request has ", tokens, " tokens in ", items,
                     " inputs; the queue holds at most ", options_.max_queue_tokens, " tokens and ",
                     options_.max_queue_items, " inputs: send several smaller requests"));
  }
  if (queue_.tokens() + tokens > options_.max_queue_tokens ||
      queue_.items() + items > options_.max_queue_items) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the queue is full: ", queue_.tokens(), " tokens in ", queue_.items(),
                     " inputs are waiting, the request has ", tokens, " tokens in ", items,
                     " inputs, the limits are ", options_.max_queue_tokens, " tokens and ",
                     options_.max_queue_items, " inputs; try again later"));
  }
  return absl::OkStatus();
}

absl::StatusOr<GroupId> Batcher::Schedule(WorkGroup&& group) {
  std::vector<DequeuedItem> expired;
  absl::StatusOr<GroupId> id = [&]() -> absl::StatusOr<GroupId> {
    absl::MutexLock lock(&mutex_);
    const absl::Time now = clock_->Now();
    absl::Status status = CheckAdmission(group, now);
    if (absl::IsResourceExhausted(status)) {
      // Work that nobody waits for any more must not keep others out.
      expired = queue_.TakeExpired(now);
      ReportDequeued(expired);
      status = CheckAdmission(group, now);
    }
    if (!status.ok()) return status;
    const int64_t tokens_before = queue_.tokens();
    const int64_t items_before = queue_.items();
    const GroupId pushed = queue_.Push(std::move(group), now);
    observer_->OnQueueChange(queue_.tokens() - tokens_before, queue_.items() - items_before);
    return pushed;
  }();
  FinishAll(expired, absl::DeadlineExceededError("the deadline passed in the queue"));
  return id;
}

void Batcher::Cancel(GroupId id) {
  std::vector<DequeuedItem> cancelled;
  {
    absl::MutexLock lock(&mutex_);
    cancelled = queue_.TakeGroup(id, clock_->Now());
    ReportDequeued(cancelled);
  }
  FinishAll(cancelled, absl::CancelledError("cancelled in the queue"));
}

absl::Status Batcher::Drain(absl::Time deadline) {
  std::vector<DequeuedItem> dropped;
  bool running = false;
  {
    absl::MutexLock lock(&mutex_);
    admitting_ = false;
    if (clock_->AwaitWithDeadline(mutex_, absl::Condition(this, &Batcher::IsIdle), deadline)) {
      return absl::OkStatus();
    }
    dropped = queue_.TakeAll(clock_->Now());
    ReportDequeued(dropped);
    running = running_;
  }
  FinishAll(dropped, absl::UnavailableError("the server stopped before the input was computed"));
  return absl::DeadlineExceededError(
      absl::StrCat("the drain's deadline passed: ", dropped.size(), " waiting inputs were dropped",
                   running ? ", a batch is still being computed" : ""));
}

void Batcher::ReportDequeued(const std::vector<DequeuedItem>& items) {
  if (items.empty()) return;
  int64_t tokens = 0;
  for (const DequeuedItem& dequeued : items) {
    tokens += dequeued.item->tokens();
    observer_->OnItemDequeued(dequeued.waited);
  }
  observer_->OnQueueChange(-tokens, -static_cast<int64_t>(items.size()));
}

void Batcher::ThreadLoop() {
  while (true) {
    std::vector<DequeuedItem> expired;
    std::vector<DequeuedItem> batch;
    {
      absl::MutexLock lock(&mutex_);
      running_ = false;
      mutex_.Await(absl::Condition(this, &Batcher::HasWorkOrStopped));
      if (queue_.empty()) return;
      const absl::Time now = clock_->Now();
      expired = queue_.TakeExpired(now);
      batch = queue_.TakeBatch(options_.max_batch_tokens, options_.max_batch_items, now);
      ReportDequeued(expired);
      ReportDequeued(batch);
      running_ = true;
    }
    FinishAll(expired, absl::DeadlineExceededError("the deadline passed in the queue"));
    if (!batch.empty()) RunBatch(std::move(batch));
  }
}

void Batcher::RunBatch(std::vector<DequeuedItem> batch) {
  std::vector<WorkItem*> items;
  items.reserve(batch.size());
  int64_t tokens = 0;
  for (const DequeuedItem& dequeued : batch) {
    items.push_back(dequeued.item.get());
    tokens += dequeued.item->tokens();
  }
  const absl::Time start = clock_->Now();
  const std::vector<absl::Status> statuses = RunGuarded(*executor_, items);
  const absl::Duration compute = clock_->Now() - start;
  observer_->OnBatchDone(static_cast<int64_t>(items.size()), tokens, compute);
  for (size_t i = 0; i < batch.size(); ++i) {
    batch[i].item->Done(statuses[i], {batch[i].waited, compute});
  }
}

}  // namespace longwave
