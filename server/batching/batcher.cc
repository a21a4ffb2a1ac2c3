#include "server/batching/batcher.h"

#include <exception>
#include <iterator>
#include <new>
#include <optional>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

// The executor's statuses, one per item; or why there are none.
absl::StatusOr<std::vector<absl::Status>> RunGuarded(Executor& executor, const Batch& batch,
                                                     BatchControl* control) {
  try {
    std::vector<absl::Status> statuses = executor.Run(batch.items, control);
    if (statuses.size() == batch.items.size()) return statuses;
    return absl::InternalError(absl::StrCat("the executor returned ", statuses.size(),
                                            " results for a batch of ", batch.items.size()));
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("out of memory while computing the batch");
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("computing the batch failed: ", e.what()));
  } catch (...) {
    return absl::InternalError("computing the batch failed");
  }
}

}  // namespace

// Computes short batches in the gaps of a long one, or makes it wait for them where the device
// computes both; and stops it when nobody waits for it.
class Batcher::GapControl final : public BatchControl {
 public:
  GapControl(Batcher* batcher, BatchId id, int worker, absl::Time wanted_until)
      : batcher_(batcher),
        id_(id),
        worker_(worker),
        wanted_until_(wanted_until),
        cancels_(batcher->cancels_) {}

  bool Continue() override {
    const uint64_t cancels = batcher_->cancels_;
    const bool changed = cancels != cancels_ || batcher_->clock_->Now() >= wanted_until_;
    if (!changed && !crowded()) return true;
    cancels_ = cancels;
    while (true) {
      std::optional<Batch> batch;
      std::vector<Ending> endings;
      bool wanted = false, paused = false;
      News news;
      {
        absl::MutexLock lock(&batcher_->mutex_);
        Scheduler& scheduler = batcher_->scheduler_;
        const absl::Time now = batcher_->clock_->Now();
        wanted_until_ = scheduler.WantedUntil(id_);
        wanted = wanted_until_ > now;
        if (wanted && scheduler.ShouldYield(id_, now)) {
          batch = scheduler.Start(worker_, Lanes::kShort, id_, now, endings);
        } else if (wanted && scheduler.ShouldPause(id_, now)) {
          paused = true;
          AwaitResume(now);
        }
        news = batcher_->Publish();
        batcher_->Route(endings, /*busy=*/true);
      }
      batcher_->Tell(news);
      if (batch.has_value()) {
        batcher_->RunBatch(*batch);
      } else if (!paused) {
        return wanted;
      }
    }
  }

  bool crowded() const override {
    return batcher_->gates_[static_cast<size_t>(worker_)]->crowded();
  }

 private:
  void AwaitResume(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(batcher_->mutex_) {
    Scheduler& scheduler = batcher_->scheduler_;
    const Clock& clock = *batcher_->clock_;
    scheduler.OnPause(id_, now);
    const auto ready = [&]() ABSL_SHARED_LOCKS_REQUIRED(batcher_->mutex_) {
      return scheduler.MayResume(id_, clock.Now());
    };
    clock.AwaitWithDeadline(batcher_->mutex_, absl::Condition(&ready), wanted_until_);
    scheduler.OnResume(id_, clock.Now());
  }

  Batcher* const batcher_;
  const BatchId id_;
  const int worker_;
  absl::Time wanted_until_;
  uint64_t cancels_;
};

absl::StatusOr<std::unique_ptr<Batcher>> Batcher::Create(const Options& options,
                                                         std::vector<Worker> workers,
                                                         const Clock* clock,
                                                         BatchObserver* observer) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  return absl::WrapUnique(new Batcher(options, std::move(workers), clock, observer));
}

Batcher::Batcher(const Options& options, std::vector<Worker> workers, const Clock* clock,
                 BatchObserver* observer)
    : workers_(std::move(workers)),
      clock_(clock),
      spin_time_(options.spin_time),
      scheduler_(options, workers_, observer),
      gates_(scheduler_.gates()),
      short_works_(workers_.size()) {
  for (size_t i = 0; i < workers_.size(); ++i) {
    memory_listeners_.push_back(workers_[i].memory->listeners().Add([this] {
      absl::MutexLock lock(&mutex_);
      scheduler_.OnMemoryChange();
    }));
    // To unlock makes those who wait look again.
    gate_listeners_.push_back(
        gates_[i]->listeners().Add([this] { absl::MutexLock lock(&mutex_); }));
  }
  for (size_t i = 0; i < workers_.size(); ++i) {
    const int worker = static_cast<int>(i);
    if (workers_[i].executor->shares_device()) {
      threads_.emplace_back([this, worker] { WorkerLoop(worker, Lanes::kShort); });
      threads_.emplace_back([this, worker] { WorkerLoop(worker, Lanes::kLong); });
    } else {
      threads_.emplace_back([this, worker] { WorkerLoop(worker, Lanes::kBoth); });
    }
  }
  threads_.emplace_back([this] { DeliveryLoop(); });
}

Batcher::~Batcher() {
  Drain(absl::InfinitePast()).IgnoreError();
  {
    absl::MutexLock lock(&mutex_);
    stopped_ = true;
    stopping_ = true;
  }
  for (std::thread& thread : threads_) thread.join();
  for (size_t i = 0; i < workers_.size(); ++i) {
    workers_[i].memory->listeners().Remove(memory_listeners_[i]);
    gates_[i]->listeners().Remove(gate_listeners_[i]);
  }
}

Batcher::News Batcher::Publish() {
  for (size_t i = 0; i < workers_.size(); ++i) {
    short_works_[i] = scheduler_.HasShortWork(static_cast<int>(i));
  }
  return {scheduler_.TakeMemoryReleased(), scheduler_.TakeGatesOpened()};
}

void Batcher::Tell(const News& news) {
  for (size_t i = 0; i < workers_.size(); ++i) {
    if (news.memory && (i == 0 || workers_[i].memory != workers_[i - 1].memory)) {
      workers_[i].memory->listeners().Tell();
    }
    if (news.gates && (i == 0 || gates_[i] != gates_[i - 1])) gates_[i]->listeners().Tell();
  }
}

absl::StatusOr<GroupId> Batcher::Schedule(WorkGroup&& group) {
  std::vector<Ending> endings;
  News news;
  absl::StatusOr<GroupId> id = [&]() -> absl::StatusOr<GroupId> {
    absl::MutexLock lock(&mutex_);
    absl::StatusOr<GroupId> admitted = scheduler_.Admit(group, clock_->Now(), endings);
    news = Publish();
    return admitted;
  }();
  Tell(news);
  Deliver(std::move(endings));
  return id;
}

void Batcher::Cancel(GroupId id) {
  std::vector<Ending> endings;
  News news;
  {
    absl::MutexLock lock(&mutex_);
    scheduler_.Cancel(id, clock_->Now(), endings);
    news = Publish();
    ++cancels_;
  }
  Tell(news);
  Deliver(std::move(endings));
}

absl::Status Batcher::Drain(absl::Time deadline) {
  std::vector<Ending> dropped;
  bool running = false;
  News news;
  {
    absl::MutexLock lock(&mutex_);
    scheduler_.StopAdmitting();
    if (clock_->AwaitWithDeadline(mutex_, absl::Condition(this, &Batcher::IsIdle), deadline)) {
      return absl::OkStatus();
    }
    scheduler_.DropWaiting(clock_->Now(), dropped);
    news = Publish();
    running = !scheduler_.idle();
  }
  Tell(news);
  const size_t count = dropped.size();
  Deliver(std::move(dropped));
  return absl::DeadlineExceededError(
      absl::StrCat("the drain's deadline passed: ", count, " waiting inputs were dropped",
                   running ? ", a batch is still being computed" : ""));
}

void Batcher::WorkerLoop(int worker, Lanes lanes) {
  const auto ready = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return scheduler_.CanStart(worker, lanes) || (stopped_ && !scheduler_.has_waiting());
  };
  absl::Duration last_wait = absl::InfiniteDuration();
  while (true) {
    std::optional<Batch> batch;
    std::vector<Ending> endings;
    News news;
    const absl::Time free_since = clock_->Now();
    // A thread that is needed seldom gains nothing that is worth a core.
    if (lanes == Lanes::kShort && last_wait < spin_time_) {
      LookForWork(worker, free_since + spin_time_);
    }
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&ready));
      if (stopped_ && !scheduler_.has_waiting()) return;
      const absl::Time now = clock_->Now();
      last_wait = now - free_since;
      batch = scheduler_.Start(worker, lanes, /*within=*/0, now, endings);
      news = Publish();
      Route(endings, batch.has_value());
    }
    Tell(news);
    DeliverHere(std::move(endings));
    if (batch.has_value()) RunBatch(*batch);
  }
}

void Batcher::LookForWork(int worker, absl::Time until) const {
  const std::atomic<bool>& short_works = short_works_[static_cast<size_t>(worker)];
  while (!short_works && !stopping_ && clock_->Now() < until) std::this_thread::yield();
}

void Batcher::RunBatch(const Batch& batch) {
  std::optional<GapControl> control;
  if (batch.lane == Lane::kLong) {
    absl::MutexLock lock(&mutex_);
    control.emplace(this, batch.id, batch.worker, scheduler_.WantedUntil(batch.id));
  }
  Executor& executor = *workers_[static_cast<size_t>(batch.worker)].executor;
  const absl::StatusOr<std::vector<absl::Status>> statuses =
      RunGuarded(executor, batch, control.has_value() ? &*control : nullptr);
  std::vector<Ending> endings;
  News news;
  {
    absl::MutexLock lock(&mutex_);
    scheduler_.Finish(batch.id, statuses.value_or(std::vector<absl::Status>()), statuses.status(),
                      clock_->Now(), endings);
    news = Publish();
    Route(endings, !scheduler_.idle());
  }
  Tell(news);
  DeliverHere(std::move(endings));
}

void Batcher::Route(std::vector<Ending>& endings, bool busy) {
  if (endings.empty()) return;
  if (!busy) {
    ++delivering_;
    return;
  }
  undelivered_.insert(undelivered_.end(), std::make_move_iterator(endings.begin()),
                      std::make_move_iterator(endings.end()));
  endings.clear();
}

void Batcher::DeliverHere(std::vector<Ending> endings) {
  if (endings.empty()) return;
  Deliver(std::move(endings));
  absl::MutexLock lock(&mutex_);
  --delivering_;
}

void Batcher::DeliveryLoop() {
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return !undelivered_.empty() || (stopped_ && scheduler_.idle() && delivering_ == 0);
  };
  while (true) {
    std::vector<Ending> endings;
    {
      absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(&ready));
      if (undelivered_.empty()) return;
      endings.swap(undelivered_);
      ++delivering_;
    }
    Deliver(std::move(endings));
    absl::MutexLock lock(&mutex_);
    --delivering_;
  }
}

}  // namespace longwave
