#ifndef LONGWAVE_TESTS_SERVER_BATCHING_SCHEDULER_FIXTURE_H_
#define LONGWAVE_TESTS_SERVER_BATCHING_SCHEDULER_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/batching/scheduler.h"
#include "tests/server/batching/puppet.h"

namespace longwave {

// A byte and a millisecond for each token; never runs anything.
class TokenExecutor final : public Executor {
 public:
  explicit TokenExecutor(bool shares_device = false) : shares_device_(shares_device) {}

  int64_t EstimateMemory(const BatchSize& size) const override { return size.tokens; }
  double PredictMilliseconds(int64_t tokens) const override { return static_cast<double>(tokens); }
  bool shares_device() const override { return shares_device_; }
  std::vector<absl::Status> Run(absl::Span<WorkItem* const>, BatchControl*) override {
    ADD_FAILURE() << "nothing is to be run";
    return {};
  }

 private:
  const bool shares_device_;
};

// Plays a scheduler step by step: time is a variable, and computing is what a test does between
// Start() and Finish().
class SchedulerTest : public ::testing::Test {
 protected:
  using Items = std::vector<std::pair<std::string, int64_t>>;
  using Code = absl::StatusCode;

  // No bounds but those that a test sets.
  static BatchingOptions Open() {
    BatchingOptions options;
    options.max_batch_time = absl::InfiniteDuration();
    options.deadline_margin = 0;
    options.long_item_tokens = 1000;
    options.max_batch_tokens = 10000;
    return options;
  }

  void Make(const BatchingOptions& options = Open(), int64_t memory = 0, int workers = 1,
            bool shares_device = false) {
    budget_ = std::make_unique<MemoryBudget>(memory, /*max_bypass=*/2);
    executor_ = std::make_unique<TokenExecutor>(shares_device);
    scheduler_ = std::make_unique<Scheduler>(
        options,
        std::vector<Worker>(static_cast<size_t>(workers), Worker{executor_.get(), budget_.get()}),
        &observer_);
  }

  WorkGroup Group(const Items& items, absl::Duration timeout = absl::InfiniteDuration()) {
    WorkGroup group;
    group.deadline = now_ + timeout;
    for (const auto& [name, tokens] : items) {
      group.items.push_back(std::make_unique<NamedItem>(name, tokens, &ended_));
    }
    return group;
  }

  absl::StatusOr<GroupId> TryAdmit(WorkGroup group) {
    std::vector<Ending> endings;
    absl::StatusOr<GroupId> id = scheduler_->Admit(group, now_, endings);
    Deliver(std::move(endings));
    return id;
  }

  GroupId Admit(WorkGroup group) {
    absl::StatusOr<GroupId> id = TryAdmit(std::move(group));
    EXPECT_TRUE(id.ok()) << id.status();
    return id.value_or(0);
  }
  GroupId Admit(const Items& items, absl::Duration timeout = absl::InfiniteDuration()) {
    return Admit(Group(items, timeout));
  }

  void Cancel(GroupId id) {
    std::vector<Ending> endings;
    scheduler_->Cancel(id, now_, endings);
    Deliver(std::move(endings));
  }

  // The names of the batch that starts; empty when none does. It is `batch_` from then on.
  std::vector<std::string> Start(Lanes lanes = Lanes::kBoth, int worker = 0, BatchId within = 0) {
    std::vector<Ending> endings;
    const std::optional<Batch> batch = scheduler_->Start(worker, lanes, within, now_, endings);
    Deliver(std::move(endings));
    std::vector<std::string> names;
    if (!batch.has_value()) return names;
    batch_ = *batch;
    for (const WorkItem* item : batch->items) {
      names.push_back(static_cast<const NamedItem*>(item)->name());
    }
    return names;
  }

  void Finish(const Batch& batch, std::vector<absl::Status> statuses = {},
              const absl::Status& failure = absl::OkStatus()) {
    std::vector<Ending> endings;
    if (statuses.empty()) statuses.resize(batch.items.size());
    scheduler_->Finish(batch.id, statuses, failure, now_, endings);
    Deliver(std::move(endings));
  }
  void Finish() { Finish(batch_); }
  void FinishOutOfMemory() {
    Finish(batch_, std::vector<absl::Status>(batch_.items.size(),
                                             absl::ResourceExhaustedError("no memory")));
  }

  // A batch of `tokens` that takes a millisecond each, so that the scheduler knows what things
  // cost.
  void Teach(int64_t tokens = 100) {
    Admit({{"teach", tokens}});
    ASSERT_THAT(Start(), ::testing::ElementsAre("teach"));
    now_ += absl::Milliseconds(tokens);
    Finish();
  }

  // The code that an item ended with; nothing while it has not.
  std::optional<absl::StatusCode> CodeOf(const std::string& name) {
    if (!ended_.HasEnded(name)) return std::nullopt;
    const Ended ending = ended_.Await(name);
    EXPECT_EQ(ending.times, 1) << name;
    return ending.status.code();
  }

  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  Endings ended_;
  SummingObserver observer_;
  std::unique_ptr<MemoryBudget> budget_;
  std::unique_ptr<TokenExecutor> executor_;
  std::unique_ptr<Scheduler> scheduler_;
  Batch batch_;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SERVER_BATCHING_SCHEDULER_FIXTURE_H_
