// Every rule of the scheduler, one by one. Time is a variable, and computing is what a test does
// between Start() and Finish().
#include "server/batching/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/batching/retry_delay.h"
#include "tests/server/batching/puppet.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

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

using Items = std::vector<std::pair<std::string, int64_t>>;

class SchedulerTest : public ::testing::Test {
 protected:
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
        std::vector<Worker>(static_cast<size_t>(workers),
                            Worker{executor_.get(), budget_.get()}),
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

  // A batch of `tokens` that takes a millisecond each, so that the scheduler knows what things cost.
  void Teach(int64_t tokens = 100) {
    Admit({{"teach", tokens}});
    ASSERT_THAT(Start(), ElementsAre("teach"));
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

using Code = absl::StatusCode;

// --- What closes a batch ---

TEST_F(SchedulerTest, ALoneItemStartsAtOnce) {
  Make();
  EXPECT_FALSE(scheduler_->CanStart(0, Lanes::kBoth));
  Admit({{"a", 5}});
  EXPECT_TRUE(scheduler_->CanStart(0, Lanes::kBoth));
  EXPECT_THAT(Start(), ElementsAre("a"));
  Finish();
  EXPECT_EQ(CodeOf("a"), Code::kOk);
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(SchedulerTest, TokensCloseABatch) {
  BatchingOptions options = Open();
  options.max_batch_tokens = 100;
  Make(options);
  Admit({{"a", 60}, {"b", 40}, {"c", 1}, {"huge", 500}, {"d", 1}});
  EXPECT_THAT(Start(), ElementsAre("a", "b"));
  Finish();
  EXPECT_THAT(Start(), ElementsAre("c"));  // what comes later never overtakes
  Finish();
  EXPECT_THAT(Start(), ElementsAre("huge"));
  Finish();
  EXPECT_THAT(Start(), ElementsAre("d"));
  Finish();
}

TEST_F(SchedulerTest, TheNumberOfItemsClosesABatch) {
  BatchingOptions options = Open();
  options.max_batch_items = 2;
  Make(options);
  Admit({{"a", 1}, {"b", 1}, {"c", 1}});
  EXPECT_THAT(Start(), ElementsAre("a", "b"));
  Finish();
  EXPECT_THAT(Start(), ElementsAre("c"));
  Finish();
}

TEST_F(SchedulerTest, PredictedTimeClosesABatchOnceItIsKnown) {
  BatchingOptions options = Open();
  options.max_batch_time = absl::Milliseconds(50);
  Make(options);
  Admit({{"a", 40}, {"b", 40}});
  EXPECT_THAT(Start(), ElementsAre("a", "b"));
  now_ += absl::Milliseconds(160);  // two milliseconds a token
  Finish();
  Admit({{"c", 12}, {"d", 12}, {"e", 2}, {"f", 200}});
  EXPECT_THAT(Start(), ElementsAre("c", "d"));
  now_ += absl::Milliseconds(48);
  Finish();
  EXPECT_THAT(Start(), ElementsAre("e"));
  Finish();
  EXPECT_THAT(Start(), ElementsAre("f"));
  Finish();
}

TEST_F(SchedulerTest, MemoryClosesABatch) {
  Make(Open(), /*memory=*/100);
  Admit({{"a", 60}, {"b", 30}, {"c", 20}});
  EXPECT_THAT(Start(), ElementsAre("a", "b"));
  EXPECT_EQ(budget_->reserved(), 90);
  Finish();
  EXPECT_EQ(budget_->reserved(), 0);
  EXPECT_THAT(Start(), ElementsAre("c"));
  Finish();
}

// --- Lanes ---

TEST_F(SchedulerTest, LanesDoNotShareABatch) {
  Make();
  Admit({{"a", 10}, {"long", 2000}, {"b", 10}, {"long 2", 1001}, {"edge", 1000}});
  EXPECT_THAT(Start(), ElementsAre("a", "b", "edge"));
  EXPECT_EQ(batch_.lane, Lane::kShort);
  Finish();
  EXPECT_THAT(Start(), ElementsAre("long", "long 2"));
  EXPECT_EQ(batch_.lane, Lane::kLong);
  Finish();
}

TEST_F(SchedulerTest, PredictedTimeMakesAnItemLong) {
  BatchingOptions options = Open();
  options.long_item_time = absl::Milliseconds(100);
  Make(options);
  Teach();
  Admit({{"a", 100}, {"long", 101}});
  EXPECT_THAT(Start(Lanes::kLong), ElementsAre("long"));
  Finish();
  EXPECT_THAT(Start(Lanes::kShort), ElementsAre("a"));
  Finish();
}

TEST_F(SchedulerTest, ALongBatchYieldsToShortWorkAndIsOwedItsShare) {
  BatchingOptions options = Open();
  options.long_lane_share = 0.25;
  Make(options);
  Admit({{"long", 2000}});
  ASSERT_THAT(Start(), ElementsAre("long"));
  const Batch outer = batch_;
  EXPECT_FALSE(scheduler_->ShouldYield(outer.id, now_));  // nothing waits
  now_ += absl::Milliseconds(10);
  Admit({{"a", 10}});
  EXPECT_TRUE(scheduler_->ShouldYield(outer.id, now_));
  ASSERT_THAT(Start(Lanes::kShort, 0, outer.id), ElementsAre("a"));
  now_ += absl::Milliseconds(30);
  Finish();
  // 30 ms of the short lane earn the long one 10 ms.
  Admit({{"b", 10}});
  EXPECT_FALSE(scheduler_->ShouldYield(outer.id, now_));
  now_ += absl::Milliseconds(6);
  EXPECT_FALSE(scheduler_->ShouldYield(outer.id, now_));
  now_ += absl::Milliseconds(6);
  EXPECT_TRUE(scheduler_->ShouldYield(outer.id, now_));
  ASSERT_THAT(Start(Lanes::kShort, 0, outer.id), ElementsAre("b"));
  now_ += absl::Milliseconds(3);
  Finish();
  now_ += absl::Milliseconds(1);
  Finish(outer);
  EXPECT_EQ(ended_.Await("long").timing.compute, absl::Milliseconds(10 + 12 + 1));
  EXPECT_EQ(observer_.sums().yields, 2);
}

TEST_F(SchedulerTest, TheLongLaneStartsWhenItIsOwedTime) {
  Make();
  Admit({{"long", 2000}, {"a", 10}});
  ASSERT_THAT(Start(), ElementsAre("a"));
  now_ += absl::Milliseconds(30);
  Admit({{"b", 10}});
  Finish();
  EXPECT_THAT(Start(), ElementsAre("long"));  // however much short work keeps coming
  Finish();
  EXPECT_THAT(Start(), ElementsAre("b"));
  Finish();
}

TEST_F(SchedulerTest, ADeviceThatSharesItselfRunsBothLanesAtOnce) {
  Make(Open(), 0, 1, /*shares_device=*/true);
  Admit({{"long", 2000}, {"a", 10}});
  EXPECT_THAT(Start(Lanes::kLong), ElementsAre("long"));
  const Batch outer = batch_;
  EXPECT_FALSE(scheduler_->ShouldYield(outer.id, now_));
  EXPECT_THAT(Start(Lanes::kShort), ElementsAre("a"));
  EXPECT_FALSE(scheduler_->ShouldPause(batch_.id, now_));
  Finish();
  Finish(outer);
}

TEST_F(SchedulerTest, ALongBatchPausesForShortWorkAndIsOwedItsShare) {
  BatchingOptions options = Open();
  options.long_lane_share = 0.25;
  Make(options, 0, 1, /*shares_device=*/true);
  Admit({{"long", 2000}});
  ASSERT_THAT(Start(Lanes::kLong), ElementsAre("long"));
  const Batch outer = batch_;
  EXPECT_FALSE(scheduler_->ShouldPause(outer.id, now_));  // it has the device to itself
  now_ += absl::Milliseconds(10);
  Admit({{"a", 10}});
  EXPECT_TRUE(scheduler_->ShouldPause(outer.id, now_));
  scheduler_->OnPause(outer.id, now_);
  ASSERT_THAT(Start(Lanes::kShort), ElementsAre("a"));
  EXPECT_FALSE(scheduler_->MayResume(outer.id, now_));
  now_ += absl::Milliseconds(30);
  Admit({{"b", 10}});
  Finish();
  EXPECT_TRUE(scheduler_->MayResume(outer.id, now_));  // 30 ms of the short lane earn the long one 10 ms
  scheduler_->OnResume(outer.id, now_);
  ASSERT_THAT(Start(Lanes::kShort), ElementsAre("b"));
  now_ += absl::Milliseconds(6);
  EXPECT_FALSE(scheduler_->ShouldPause(outer.id, now_));
  now_ += absl::Milliseconds(6);
  EXPECT_TRUE(scheduler_->ShouldPause(outer.id, now_));
  scheduler_->OnPause(outer.id, now_);
  now_ += absl::Milliseconds(3);
  Finish();  // 15 ms earn it 5 ms, but it has had 2 ms too much
  Admit({{"c", 10}});
  EXPECT_TRUE(scheduler_->MayResume(outer.id, now_));
  scheduler_->OnResume(outer.id, now_);
  ASSERT_THAT(Start(Lanes::kShort), ElementsAre("c"));
  now_ += absl::Milliseconds(3);
  EXPECT_TRUE(scheduler_->ShouldPause(outer.id, now_));
  scheduler_->OnPause(outer.id, now_);
  EXPECT_FALSE(scheduler_->MayResume(outer.id, now_));
  Finish();
  scheduler_->OnResume(outer.id, now_);
  now_ += absl::Milliseconds(1);
  Finish(outer);
  EXPECT_EQ(ended_.Await("long").timing.compute, absl::Milliseconds(10 + 12 + 3 + 1));
}

TEST_F(SchedulerTest, TimeThatALongBatchHasForItselfIsNoDebt) {
  BatchingOptions options = Open();
  options.long_lane_share = 0.25;
  Make(options, 0, 1, /*shares_device=*/true);
  Admit({{"long", 2000}});
  ASSERT_THAT(Start(Lanes::kLong), ElementsAre("long"));
  const Batch outer = batch_;
  Admit({{"a", 10}});
  ASSERT_THAT(Start(Lanes::kShort), ElementsAre("a"));
  scheduler_->OnPause(outer.id, now_);
  now_ += absl::Milliseconds(30);
  Admit({{"b", 10}});
  Finish();  // earns it 10 ms
  scheduler_->OnResume(outer.id, now_);
  ASSERT_THAT(Start(Lanes::kShort), ElementsAre("b"));
  EXPECT_FALSE(scheduler_->ShouldPause(outer.id, now_));  // it goes on, for what it is owed
  now_ += absl::Milliseconds(3);
  Finish();  // 1 ms more, 3 ms had; from here on there is no short work, and no checkpoint asks
  EXPECT_FALSE(scheduler_->HasShortWork(0));
  now_ += absl::Seconds(1);
  Admit({{"c", 10}});
  ASSERT_THAT(Start(Lanes::kShort), ElementsAre("c"));
  EXPECT_FALSE(scheduler_->ShouldPause(outer.id, now_));
  now_ += absl::Milliseconds(7);
  EXPECT_FALSE(scheduler_->ShouldPause(outer.id, now_));
  now_ += absl::Milliseconds(2);
  EXPECT_TRUE(scheduler_->ShouldPause(outer.id, now_));  // 8 ms are used up
  Finish();
  Finish(outer);
}

TEST_F(SchedulerTest, ALongBatchMakesWayForItsOwnWorkersShortWorkOnly) {
  Make(Open(), 0, 2, /*shares_device=*/true);
  Admit({{"long", 2000}});
  ASSERT_THAT(Start(Lanes::kLong), ElementsAre("long"));
  const Batch outer = batch_;
  Admit({{"a", 10}});
  EXPECT_TRUE(scheduler_->HasShortWork(0));  // either worker may take it
  EXPECT_TRUE(scheduler_->HasShortWork(1));
  ASSERT_THAT(Start(Lanes::kShort, /*worker=*/1), ElementsAre("a"));
  EXPECT_FALSE(scheduler_->HasShortWork(0));
  EXPECT_TRUE(scheduler_->HasShortWork(1));
  Finish();
  Finish(outer);
}

TEST_F(SchedulerTest, APausedBatchGoesOnToStopWhenNobodyWaitsForIt) {
  Make(Open(), 0, 1, /*shares_device=*/true);
  const GroupId group = Admit({{"long", 2000}});
  ASSERT_THAT(Start(Lanes::kLong), ElementsAre("long"));
  const Batch outer = batch_;
  Admit({{"a", 10}});
  ASSERT_THAT(Start(Lanes::kShort), ElementsAre("a"));
  ASSERT_TRUE(scheduler_->ShouldPause(outer.id, now_));
  scheduler_->OnPause(outer.id, now_);
  Cancel(group);
  EXPECT_TRUE(scheduler_->MayResume(outer.id, now_));
  scheduler_->OnResume(outer.id, now_);
  Finish();
  Finish(outer);
}

TEST_F(SchedulerTest, ABatchDoesNotPauseForShortWorkThatLacksMemory) {
  Make(Open(), /*memory=*/2005, 1, /*shares_device=*/true);
  Admit({{"long", 2000}});
  ASSERT_THAT(Start(Lanes::kLong), ElementsAre("long"));
  const Batch outer = batch_;
  Admit({{"a", 10}});
  EXPECT_THAT(Start(Lanes::kShort), IsEmpty());
  EXPECT_FALSE(scheduler_->ShouldPause(outer.id, now_));
  Finish(outer);
  EXPECT_THAT(Start(Lanes::kShort), ElementsAre("a"));
  Finish();
}

TEST_F(SchedulerTest, ABatchIsWantedUntilNobodyWaitsForAnyOfIt) {
  Make();
  const GroupId one = Admit({{"a", 2000}});
  Admit({{"b", 2000}}, absl::Milliseconds(5));
  Start();
  EXPECT_TRUE(scheduler_->IsWanted(batch_.id, now_));
  Cancel(one);
  EXPECT_TRUE(scheduler_->IsWanted(batch_.id, now_));
  now_ += absl::Milliseconds(5);
  EXPECT_FALSE(scheduler_->IsWanted(batch_.id, now_));
  Finish(batch_, {absl::CancelledError(), absl::CancelledError()});
  EXPECT_EQ(CodeOf("a"), Code::kCancelled);
  EXPECT_EQ(CodeOf("b"), Code::kDeadlineExceeded);
  EXPECT_EQ(observer_.sums().wasted, 2);
}

// --- Fairness ---

TEST_F(SchedulerTest, AFlooderDoesNotHoldUpOtherClients) {
  BatchingOptions options = Open();
  options.max_batch_tokens = 10;
  Make(options);
  for (int i = 0; i < 50; ++i) Admit({{absl::StrCat("flood", i), 10}});
  EXPECT_THAT(Start(), ElementsAre("flood0"));
  Finish();
  WorkGroup other = Group({{"other", 10}});
  other.client = 1;
  Admit(std::move(other));
  EXPECT_THAT(Start(), ElementsAre("flood1"));
  Finish();
  EXPECT_THAT(Start(), ElementsAre("other"));
  Finish();
  scheduler_->StopAdmitting();
  std::vector<Ending> endings;
  scheduler_->DropWaiting(now_, endings);
  EXPECT_EQ(endings.size(), 48u);
}

TEST_F(SchedulerTest, AFlooderLeavesRoomInTheQueue) {
  BatchingOptions options = Open();
  options.max_queue_tokens = 100;
  Make(options);
  int admitted = 0;
  while (TryAdmit(Group({{absl::StrCat("flood", admitted), 5}})).ok()) ++admitted;
  EXPECT_EQ(admitted, 16);  // four times what stays free
  WorkGroup other = Group({{"other", 20}});
  other.client = 1;
  Admit(std::move(other));
  while (scheduler_->has_waiting()) {
    Start();
    Finish();
  }
}

TEST_F(SchedulerTest, PrioritiesOrderAClientsItems) {
  BatchingOptions options = Open();
  options.max_batch_items = 1;
  Make(options);
  for (const auto& [name, priority] : std::vector<std::pair<std::string, Priority>>{
           {"low", Priority::kLow}, {"normal", Priority::kNormal}, {"high", Priority::kHigh}}) {
    WorkGroup group = Group({{name, 10}});
    group.priority = priority;
    Admit(std::move(group));
  }
  for (const char* name : {"high", "normal", "low"}) {
    EXPECT_THAT(Start(), ElementsAre(name));
    Finish();
  }
}

// --- Admission ---

TEST_F(SchedulerTest, AFullQueueRefusesAtOnceAndSaysWhenToComeAgain) {
  BatchingOptions options = Open();
  options.max_queue_tokens = 1000;
  Make(options);
  Teach();  // 1,000 tokens a second
  Admit({{"a", 600}});
  const absl::Status status = TryAdmit(Group({{"b", 700}})).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("600 tokens in 1 inputs are waiting"));
  ASSERT_TRUE(RetryDelay(status).has_value());
  EXPECT_EQ(*RetryDelay(status), absl::Milliseconds(300));  // 300 tokens too many
  EXPECT_THAT(std::string(status.message()), EndsWith("; try again in 300ms"));
  EXPECT_EQ(observer_.sums().refused[static_cast<size_t>(Refusal::kQueueFull)], 1);
  Start();
  Finish();
}

TEST_F(SchedulerTest, BeforeAnythingIsMeasuredARefusalNamesASecond) {
  BatchingOptions options = Open();
  options.max_queue_items = 2;
  Make(options);
  Admit({{"a", 1}, {"b", 1}});
  EXPECT_EQ(RetryDelay(TryAdmit(Group({{"c", 1}})).status()), absl::Seconds(1));
  Start();
  Finish();
}

TEST_F(SchedulerTest, BytesAreBoundedToo) {
  BatchingOptions options = Open();
  options.max_queue_bytes = 400;  // of 4 for each token
  Make(options);
  EXPECT_EQ(TryAdmit(Group({{"huge", 101}})).status().code(), Code::kOutOfRange);
  EXPECT_EQ(observer_.sums().refused[static_cast<size_t>(Refusal::kTooLarge)], 1);
  Admit({{"a", 60}});
  EXPECT_EQ(TryAdmit(Group({{"b", 41}})).status().code(), Code::kResourceExhausted);
  Start();
  Finish();
}

TEST_F(SchedulerTest, ADeadlineThatIsTooShortForTheGroupItselfIsRefused) {
  BatchingOptions options = Open();
  options.deadline_margin = 1.2;
  Make(options);
  Admit({{"unknown", 200}}, absl::Milliseconds(1));  // nothing is known of its time yet
  Start();
  now_ += absl::Milliseconds(200);
  Finish();
  EXPECT_EQ(CodeOf("unknown"), Code::kDeadlineExceeded);
  const absl::Status status = TryAdmit(Group({{"a", 50}}, absl::Milliseconds(40))).status();
  EXPECT_EQ(status.code(), Code::kDeadlineExceeded);
  EXPECT_FALSE(RetryDelay(status).has_value());
  Admit({{"b", 50}}, absl::Milliseconds(51));  // an idle device tries without a margin
  EXPECT_THAT(Start(), ElementsAre("b"));
  now_ += absl::Milliseconds(50);
  Finish();
  EXPECT_EQ(CodeOf("b"), Code::kOk);
}

TEST_F(SchedulerTest, AWrongPredictionDoesNotRefuseForEver) {
  BatchingOptions options = Open();
  options.deadline_margin = 1.2;
  Make(options);
  Admit({{"slow", 10}});
  Start();
  now_ += absl::Seconds(60);  // somebody stopped the machine
  Finish();
  int refused = 0;
  while (!TryAdmit(Group({{"a", 10}}, absl::Seconds(1))).ok()) ++refused;
  EXPECT_GT(refused, 10);
  EXPECT_LT(refused, 100);
  Start();
  Finish();
}

TEST_F(SchedulerTest, WhatCannotMeetItsDeadlineBehindOthersIsRefused) {
  BatchingOptions options = Open();
  options.deadline_margin = 1.25;
  Make(options);
  Teach();
  Admit({{"running", 100}});
  ASSERT_THAT(Start(), ElementsAre("running"));
  now_ += absl::Milliseconds(40);  // 60 ms are left
  Admit({{"waiting", 100}});
  // 60 + 100 + 40 ms, with the margin 250.
  const absl::Status status = TryAdmit(Group({{"a", 40}}, absl::Milliseconds(249))).status();
  EXPECT_EQ(status.code(), Code::kResourceExhausted);
  EXPECT_EQ(RetryDelay(status), absl::Milliseconds(1));
  EXPECT_EQ(observer_.sums().refused[static_cast<size_t>(Refusal::kDeadline)], 1);
  Admit({{"a", 40}}, absl::Milliseconds(251));
  // Another client has to wait only for its turn.
  WorkGroup other = Group({{"other", 20}}, absl::Milliseconds(130));
  other.client = 1;  // 60 + 20 + 20 ms, with the margin 125
  Admit(std::move(other));
  Finish();
  Start();
  Finish();
}

TEST_F(SchedulerTest, MoreWorkersMeetMoreDeadlines) {
  for (const int workers : {1, 4}) {
    BatchingOptions options = Open();
    options.deadline_margin = 1;
    Make(options, 0, workers);
    Teach();
    Admit({{absl::StrCat("waiting", workers), 400}});
    const bool admitted =
        TryAdmit(Group({{absl::StrCat("a", workers), 100}}, absl::Milliseconds(300))).ok();
    EXPECT_EQ(admitted, workers == 4);
    while (scheduler_->has_waiting()) {
      Start();
      Finish();
    }
  }
}

TEST_F(SchedulerTest, ADeadlineThatCanNoLongerBeMetCostsNoCompute) {
  BatchingOptions options = Open();
  options.deadline_margin = 1;
  Make(options);
  Teach();
  Admit({{"a", 50}}, absl::Milliseconds(60));
  Admit({{"b", 50}});
  now_ += absl::Milliseconds(20);
  EXPECT_THAT(Start(), ElementsAre("b"));
  EXPECT_EQ(CodeOf("a"), Code::kDeadlineExceeded);
  EXPECT_EQ(observer_.sums().dropped[static_cast<size_t>(Drop::kExpired)], 1);
  Finish();
}

TEST_F(SchedulerTest, ExpiredAndCancelledItemsCostNoCompute) {
  Make();
  Admit({{"late", 10}}, absl::Milliseconds(5));
  const GroupId cancelled = Admit({{"cancelled", 10}});
  Admit({{"fine", 10}}, absl::Milliseconds(6));
  Cancel(cancelled);
  EXPECT_EQ(CodeOf("cancelled"), Code::kCancelled);
  now_ += absl::Milliseconds(5);
  EXPECT_THAT(Start(), ElementsAre("fine"));
  EXPECT_EQ(CodeOf("late"), Code::kDeadlineExceeded);
  EXPECT_EQ(observer_.sums().dropped[static_cast<size_t>(Drop::kExpired)], 1);
  EXPECT_EQ(observer_.sums().dropped[static_cast<size_t>(Drop::kCancelled)], 1);
  now_ += absl::Milliseconds(1);
  Finish();
  EXPECT_EQ(CodeOf("fine"), Code::kDeadlineExceeded);  // too late is no success
  EXPECT_EQ(observer_.sums().wasted, 1);
}

// --- Memory ---

TEST_F(SchedulerTest, AnItemThatCanNeverFitFailsAlone) {
  Make(Open(), /*memory=*/100);
  Admit({{"a", 10}, {"huge", 101}, {"b", 100}});
  EXPECT_EQ(CodeOf("huge"), Code::kOutOfRange);
  EXPECT_THAT(Start(), ElementsAre("a"));
  Finish();
  EXPECT_THAT(Start(), ElementsAre("b"));
  Finish();
  EXPECT_EQ(CodeOf("b"), Code::kOk);
}

TEST_F(SchedulerTest, ABatchThatIsTooMuchForTheDeviceIsSplit) {
  Make();
  Admit({{"a", 1}, {"b", 1}, {"c", 1}, {"huge", 1}});
  ASSERT_THAT(Start(), ElementsAre("a", "b", "c", "huge"));
  Admit({{"later", 1}});
  FinishOutOfMemory();
  EXPECT_EQ(ended_.count(), 0u);  // nobody notices
  EXPECT_THAT(Start(), ElementsAre("a", "b"));
  Finish();
  EXPECT_THAT(Start(), ElementsAre("c", "huge"));
  FinishOutOfMemory();
  EXPECT_THAT(Start(), ElementsAre("c"));
  Finish();
  EXPECT_THAT(Start(), ElementsAre("huge"));
  FinishOutOfMemory();  // and nobody was beside it
  EXPECT_EQ(CodeOf("huge"), Code::kResourceExhausted);
  EXPECT_THAT(Start(), ElementsAre("later"));
  Finish();
  for (const char* name : {"a", "b", "c", "later"}) EXPECT_EQ(CodeOf(name), Code::kOk);
  EXPECT_EQ(observer_.sums().splits, 2);
}

TEST_F(SchedulerTest, OnlyWhatHadNoMemoryIsComputedAgain) {
  Make();
  Admit({{"good", 1}, {"bad", 1}, {"memory", 1}});
  Start();
  Finish(batch_, {absl::OkStatus(), absl::InvalidArgumentError("bad id"),
                  absl::ResourceExhaustedError("no memory")});
  EXPECT_EQ(CodeOf("good"), Code::kOk);
  EXPECT_EQ(CodeOf("bad"), Code::kInvalidArgument);
  EXPECT_THAT(Start(), ElementsAre("memory"));
  Finish();
  EXPECT_EQ(CodeOf("memory"), Code::kOk);
}

TEST_F(SchedulerTest, AnItemWithoutMemoryBesideOthersIsTriedOnceMoreAlone) {
  Make(Open(), /*memory=*/10000, /*workers=*/2);
  Admit({{"other", 2000}, {"a", 10}});
  ASSERT_THAT(Start(Lanes::kLong, 0), ElementsAre("other"));
  const Batch other = batch_;
  ASSERT_THAT(Start(Lanes::kShort, 1), ElementsAre("a"));
  FinishOutOfMemory();
  EXPECT_THAT(Start(Lanes::kShort, 1), IsEmpty());  // waits for all of the memory
  EXPECT_FALSE(scheduler_->CanStart(1, Lanes::kBoth));
  Finish(other);
  EXPECT_TRUE(scheduler_->CanStart(1, Lanes::kBoth));
  ASSERT_THAT(Start(Lanes::kShort, 1), ElementsAre("a"));
  EXPECT_EQ(budget_->reserved(), 10000);
  FinishOutOfMemory();
  EXPECT_EQ(CodeOf("a"), Code::kResourceExhausted);
}

TEST_F(SchedulerTest, EstimatesAreRaisedAfterTheDeviceRanOutOfMemory) {
  Make(Open(), /*memory=*/100);
  Admit({{"a", 40}, {"b", 40}});
  ASSERT_THAT(Start(), ElementsAre("a", "b"));
  FinishOutOfMemory();
  EXPECT_THAT(Start(), ElementsAre("a"));
  Finish();
  EXPECT_THAT(Start(), ElementsAre("b"));
  Finish();
  Admit({{"c", 45}, {"d", 40}});  // 85 are estimated to be over 100 now
  EXPECT_THAT(Start(), ElementsAre("c"));
  Finish();
  EXPECT_THAT(Start(), ElementsAre("d"));
  Finish();
}

TEST_F(SchedulerTest, ALargeItemIsOvertakenOnlySoOftenForMemory) {
  Make(Open(), /*memory=*/3000, /*workers=*/2);
  Admit({{"first", 1500}});
  ASSERT_THAT(Start(Lanes::kLong, 0), ElementsAre("first"));
  const Batch first = batch_;
  Admit({{"large", 2900}});
  EXPECT_THAT(Start(Lanes::kBoth, 1), IsEmpty());
  for (int i = 0; i < 2; ++i) {  // max_bypass of the fixture
    Admit({{absl::StrCat("short", i), 10}});
    EXPECT_THAT(Start(Lanes::kShort, 1), ElementsAre(absl::StrCat("short", i)));
    Finish();
    EXPECT_THAT(Start(Lanes::kLong, 1), IsEmpty());
  }
  Admit({{"short", 10}});
  EXPECT_THAT(Start(Lanes::kBoth, 1), IsEmpty());
  Finish(first);
  EXPECT_THAT(Start(Lanes::kShort, 1), IsEmpty());
  EXPECT_THAT(Start(Lanes::kLong, 1), ElementsAre("large"));
  const Batch large = batch_;
  scheduler_->OnMemoryChange();
  EXPECT_THAT(Start(Lanes::kShort, 0), ElementsAre("short"));
  Finish();
  Finish(large);
}

TEST_F(SchedulerTest, ACancelledClaimOnMemoryIsInNobodysWay) {
  Make(Open(), /*memory=*/3000, /*workers=*/2);
  Admit({{"first", 1500}});
  ASSERT_THAT(Start(Lanes::kLong, 0), ElementsAre("first"));
  const Batch first = batch_;
  const GroupId large = Admit({{"large", 2900}});
  EXPECT_THAT(Start(Lanes::kLong, 1), IsEmpty());
  for (int i = 0; i < 2; ++i) {
    Admit({{absl::StrCat("short", i), 10}});
    Start(Lanes::kShort, 1);
    Finish();
    Start(Lanes::kLong, 1);
  }
  Cancel(large);
  EXPECT_TRUE(scheduler_->TakeMemoryReleased());  // others want to know
  Admit({{"short", 10}});
  EXPECT_THAT(Start(Lanes::kShort, 1), ElementsAre("short"));
  Finish();
  Finish(first);
}

// --- Isolation ---

TEST_F(SchedulerTest, TheItemThatBreaksItsBatchIsFoundAndFailsAlone) {
  Make();
  Admit({{"a", 1}, {"poison", 1}, {"b", 1}});
  ASSERT_THAT(Start(), ElementsAre("a", "poison", "b"));
  const absl::Status failure = absl::InternalError("it threw");
  Finish(batch_, {}, failure);
  EXPECT_THAT(Start(), ElementsAre("a"));
  Finish();
  EXPECT_THAT(Start(), ElementsAre("poison", "b"));
  Finish(batch_, {}, failure);
  EXPECT_THAT(Start(), ElementsAre("poison"));
  Finish(batch_, {}, failure);
  EXPECT_THAT(Start(), ElementsAre("b"));
  Finish();
  EXPECT_EQ(CodeOf("a"), Code::kOk);
  EXPECT_EQ(CodeOf("b"), Code::kOk);
  EXPECT_EQ(CodeOf("poison"), Code::kInternal);
}

TEST_F(SchedulerTest, WhatIsToBeComputedAgainCanBeCancelledAndExpire) {
  Make();
  const GroupId cancelled = Admit({{"cancelled", 1}, {"cancelled 2", 1}});
  Admit({{"late", 1}}, absl::Milliseconds(5));
  Admit({{"fine", 1}});
  Start();
  FinishOutOfMemory();
  Cancel(cancelled);
  EXPECT_EQ(CodeOf("cancelled"), Code::kCancelled);
  EXPECT_EQ(CodeOf("cancelled 2"), Code::kCancelled);
  now_ += absl::Milliseconds(5);
  EXPECT_THAT(Start(), ElementsAre("fine"));
  EXPECT_EQ(CodeOf("late"), Code::kDeadlineExceeded);
  Finish();
  EXPECT_EQ(observer_.sums().queue_tokens, 0);
}

// --- Workers ---

TEST_F(SchedulerTest, WorkersTakeFromOneQueue) {
  BatchingOptions options = Open();
  options.max_batch_items = 1;
  Make(options, 0, /*workers=*/3);
  Admit({{"a", 1}, {"b", 1}, {"c", 1}, {"d", 1}});
  std::map<int, Batch> batches;
  for (int worker = 0; worker < 3; ++worker) {
    EXPECT_THAT(Start(Lanes::kBoth, worker),
                ElementsAre(std::string(1, static_cast<char>('a' + worker))));
    batches[worker] = batch_;
  }
  Finish(batches[1]);
  EXPECT_THAT(Start(Lanes::kBoth, 1), ElementsAre("d"));
  Finish();
  Finish(batches[0]);
  Finish(batches[2]);
  EXPECT_TRUE(scheduler_->idle());
}

}  // namespace
}  // namespace longwave
