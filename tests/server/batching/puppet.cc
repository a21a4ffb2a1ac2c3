#include "tests/server/batching/puppet.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace longwave {

void Endings::Add(const std::string& name, const absl::Status& status, const ItemTiming& timing) {
  absl::MutexLock lock(&mutex_);
  Ended& ending = endings_[name];
  ending = {status, timing, ending.times + 1};
}

Ended Endings::Await(const std::string& name) {
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

std::vector<absl::Status> PuppetExecutor::Run(absl::Span<WorkItem* const> items,
                                              BatchControl* control) {
  std::list<Running>::iterator self;
  {
    absl::MutexLock lock(&mutex_);
    ++batches_;
    self = running_.insert(running_.end(), Running());
    for (const WorkItem* item : items) {
      self->names.push_back(static_cast<const NamedItem*>(item)->name());
    }
  }
  while (true) {
    const auto told = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return self->outcome.has_value() || (self->at_checkpoint && !self->continued.has_value());
    };
    mutex_.Lock();
    mutex_.Await(absl::Condition(&told));
    if (self->outcome.has_value()) {
      const Outcome outcome = *std::move(self->outcome);
      running_.erase(self);
      mutex_.Unlock();
      return outcome(items.size());
    }
    mutex_.Unlock();
    const bool go_on = control == nullptr || control->Continue();
    absl::MutexLock lock(&mutex_);
    self->continued = go_on;
  }
}

std::vector<std::string> PuppetExecutor::AwaitBatch(size_t depth) {
  const auto begun = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return running_.size() == depth && !running_.back().outcome.has_value() &&
           !running_.back().at_checkpoint;
  };
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&begun));
  return running_.back().names;
}

PuppetExecutor::Running& PuppetExecutor::At(size_t depth) {
  return depth == 0 ? running_.back() : *std::next(running_.begin(), depth - 1);
}

bool PuppetExecutor::ReachCheckpoint(size_t depth) {
  absl::MutexLock lock(&mutex_);
  Running& running = At(depth);
  running.at_checkpoint = true;
  const auto continued = [&running] { return running.continued.has_value(); };
  mutex_.Await(absl::Condition(&continued));
  running.at_checkpoint = false;
  return *std::exchange(running.continued, std::nullopt);
}

void PuppetExecutor::EndBatch(size_t depth) {
  EndBatchWith([](size_t items) { return std::vector<absl::Status>(items); }, depth);
}

void PuppetExecutor::EndBatchWith(Outcome outcome, size_t depth) {
  absl::MutexLock lock(&mutex_);
  At(depth).outcome = std::move(outcome);
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

void SummingObserver::OnRefused(Refusal reason) {
  absl::MutexLock lock(&mutex_);
  ++sums_.refused[static_cast<size_t>(reason)];
}

void SummingObserver::OnItemDropped(Drop reason) {
  absl::MutexLock lock(&mutex_);
  ++sums_.dropped[static_cast<size_t>(reason)];
}

void SummingObserver::OnBatchSplit() {
  absl::MutexLock lock(&mutex_);
  ++sums_.splits;
}

void SummingObserver::OnItemsWasted(int64_t items) {
  absl::MutexLock lock(&mutex_);
  sums_.wasted += items;
}

void SummingObserver::OnYield() {
  absl::MutexLock lock(&mutex_);
  ++sums_.yields;
}

void SummingObserver::OnBatchDone(int, Lane lane, int64_t items, int64_t tokens,
                                  absl::Duration compute) {
  absl::MutexLock lock(&mutex_);
  ++sums_.lane_batches[static_cast<size_t>(lane)];
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
