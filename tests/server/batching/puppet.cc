#include "tests/server/batching/puppet.h"

#include <algorithm>
#include <utility>

namespace longwave {

void Endings::Add(const std::string& name, const absl::Status& status, const ItemTiming& timing) {
  absl::MutexLock lock(&mutex_);
  Ending& ending = endings_[name];
  ending = {status, timing, ending.times + 1};
}

Ending Endings::Await(const std::string& name) {
  const auto ended = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return endings_.count(name) > 0; };
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&ended));
  return endings_[name];
}

bool Endings::HasEnded(const std::string& name) const {
  absl::MutexLock lock(&mutex_);
  return endings_.count(name) > 0;
}

size_t Endings::count() const {
  absl::MutexLock lock(&mutex_);
  return endings_.size();
}

int Endings::most_times() const {
  absl::MutexLock lock(&mutex_);
  int most = 0;
  for (const auto& [name, ending] : endings_) most = std::max(most, ending.times);
  return most;
}

std::vector<absl::Status> PuppetExecutor::Run(absl::Span<WorkItem* const> items) {
  Outcome outcome;
  {
    absl::MutexLock lock(&mutex_);
    ++batches_;
    running_.emplace();
    for (const WorkItem* item : items) {
      running_->push_back(static_cast<const NamedItem*>(item)->name());
    }
    const auto ended = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return outcome_.has_value(); };
    mutex_.Await(absl::Condition(&ended));
    outcome = *std::exchange(outcome_, std::nullopt);
    running_.reset();
  }
  return outcome(items.size());
}

std::vector<std::string> PuppetExecutor::AwaitBatch() {
  const auto begun = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return running_.has_value() && !outcome_.has_value();
  };
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&begun));
  return *running_;
}

void PuppetExecutor::EndBatch() {
  EndBatchWith([](size_t items) { return std::vector<absl::Status>(items); });
}

void PuppetExecutor::EndBatchWith(Outcome outcome) {
  absl::MutexLock lock(&mutex_);
  outcome_ = std::move(outcome);
}

int PuppetExecutor::batches() const {
  absl::MutexLock lock(&mutex_);
  return batches_;
}

void SummingObserver::OnQueueChange(int64_t tokens, int64_t items) {
  absl::MutexLock lock(&mutex_);
  sums_.queue_tokens += tokens;
  sums_.queue_items += items;
  sums_.lowest_queue_tokens = std::min(sums_.lowest_queue_tokens, sums_.queue_tokens);
}

void SummingObserver::OnItemDequeued(absl::Duration waited) {
  absl::MutexLock lock(&mutex_);
  ++sums_.dequeued;
  sums_.waited += waited;
}

void SummingObserver::OnBatchDone(int64_t items, int64_t tokens, absl::Duration compute) {
  absl::MutexLock lock(&mutex_);
  ++sums_.batches;
  sums_.batch_items += items;
  sums_.batch_tokens += tokens;
  sums_.compute += compute;
}

SummingObserver::Sums SummingObserver::sums() const {
  absl::MutexLock lock(&mutex_);
  return sums_;
}

}  // namespace longwave
