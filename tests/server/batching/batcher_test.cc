#include "server/batching/batcher.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <future>
#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/batching/batcher_fixture.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

TEST_F(BatcherTest, ALoneItemStartsAtOnce) {
  Make();
  MustSchedule(Group({{"a", 7}}));
  EXPECT_THAT(executor_.AwaitBatch(), ElementsAre("a"));  // the clock has not moved
  clock_.Advance(absl::Milliseconds(30));
  executor_.EndBatch();
  const Ended ending = endings_.Await("a");
  EXPECT_TRUE(ending.status.ok());
  EXPECT_EQ(ending.timing.queue, absl::ZeroDuration());
  EXPECT_EQ(ending.timing.compute, absl::Milliseconds(30));
}

TEST_F(BatcherTest, ABatchFormsWhileTheExecutorIsBusy) {
  Make();
  Occupy();
  MustSchedule(Group({{"a", 100}}));
  clock_.Advance(absl::Milliseconds(5));
  MustSchedule(Group({{"b", 3}, {"c", 50}}));
  clock_.Advance(absl::Milliseconds(5));
  executor_.EndBatch();
  ExpectOk("busy");
  EXPECT_THAT(executor_.AwaitBatch(), ElementsAre("a", "b", "c"));
  executor_.EndBatch();
  for (const char* name : {"a", "b", "c"}) ExpectOk(name);
  EXPECT_EQ(endings_.Await("a").timing.queue, absl::Milliseconds(10));
  EXPECT_EQ(endings_.Await("c").timing.queue, absl::Milliseconds(5));
}

TEST_F(BatcherTest, TheTokenBudgetClosesABatch) {
  Batcher::Options options = Options();
  options.max_batch_tokens = 100;
  Make(options);
  Occupy();
  MustSchedule(Group({{"a", 60}, {"b", 40}, {"c", 1}}));
  executor_.EndBatch();
  ExpectOk("busy");
  EXPECT_THAT(executor_.AwaitBatch(), ElementsAre("a", "b"));
  executor_.EndBatch();
  ExpectOk("b");
  EXPECT_THAT(executor_.AwaitBatch(), ElementsAre("c"));
  executor_.EndBatch();
  ExpectOk("c");
}

TEST_F(BatcherTest, ExpiredItemsLeaveBeforeCompute) {
  Make();
  Occupy();
  MustSchedule(Group({{"late", 10}}, absl::Milliseconds(20)));
  MustSchedule(Group({{"fine", 10}}, absl::Milliseconds(21)));
  clock_.Advance(absl::Milliseconds(20));
  executor_.EndBatch();
  const Ended late = endings_.Await("late");
  EXPECT_EQ(late.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(late.timing.queue, absl::Milliseconds(20));
  EXPECT_EQ(late.timing.compute, absl::ZeroDuration());
  EXPECT_THAT(executor_.AwaitBatch(), ElementsAre("fine"));
  executor_.EndBatch();
  ExpectOk("fine");
}

TEST_F(BatcherTest, ExpiryOfAllThatWaitsRunsNoBatch) {
  Make();
  Occupy();
  MustSchedule(Group({{"late", 10}}, absl::Milliseconds(1)));
  clock_.Advance(absl::Seconds(1));
  executor_.EndBatch();
  EXPECT_EQ(endings_.Await("late").status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(executor_.batches(), 1);
}

TEST_F(BatcherTest, CancelledItemsLeaveBeforeCompute) {
  Make();
  Occupy();
  const GroupId cancelled = MustSchedule(Group({{"x", 10}, {"y", 10}}));
  MustSchedule(Group({{"fine", 10}}));
  batcher_->Cancel(cancelled);
  EXPECT_TRUE(endings_.HasEnded("x"));  // before Cancel() returned
  EXPECT_EQ(endings_.Await("x").status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(endings_.Await("y").status.code(), absl::StatusCode::kCancelled);
  executor_.EndBatch();
  ExpectOk("busy");
  EXPECT_THAT(executor_.AwaitBatch(), ElementsAre("fine"));
  executor_.EndBatch();
  ExpectOk("fine");
  batcher_->Cancel(cancelled);  // again, and after the end: nothing
  EXPECT_EQ(endings_.Await("x").times, 1);
}

TEST_F(BatcherTest, WhatIsCancelledWhileItIsComputedIsNoSuccess) {
  Make();
  const GroupId id = MustSchedule(Group({{"a", 10}}));
  executor_.AwaitBatch();
  batcher_->Cancel(id);
  EXPECT_FALSE(endings_.HasEnded("a"));
  executor_.EndBatch();
  EXPECT_EQ(endings_.Await("a").status.code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(observer_.sums().wasted, 1);
}

TEST_F(BatcherTest, AWorkerThatWasNeededAgainSoonLooksForWorkBeforeItSleeps) {
  PuppetExecutor executor(/*shares_device=*/true);
  Batcher::Options options = Options();
  options.spin_time = absl::Milliseconds(1);
  absl::StatusOr<std::unique_ptr<Batcher>> batcher =
      Batcher::Create(options, {{&executor, &memory_}}, &clock_, &observer_);
  ASSERT_TRUE(batcher.ok());
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_TRUE((*batcher)->Schedule(Group({{name, 1}})).ok());
    EXPECT_THAT(executor.AwaitBatch(), ElementsAre(name));
    executor.EndBatch();
    ExpectOk(name);
    if (name[0] == 'a') continue;
    // It reads the time again and again, and finds work however it comes.
    const int64_t reads = clock_.reads();
    while (clock_.reads() < reads + 100) std::this_thread::yield();
  }
  batcher->reset();  // does not wait for the time to pass
}

TEST_F(BatcherTest, MemoryThatAnotherModelGivesBackWakesTheWorker) {
  MemoryBudget memory(100);
  PuppetExecutor other_executor;
  absl::StatusOr<std::unique_ptr<Batcher>> mine =
      Batcher::Create(Options(), {{&executor_, &memory}}, &clock_, &observer_);
  absl::StatusOr<std::unique_ptr<Batcher>> other =
      Batcher::Create(Options(), {{&other_executor, &memory}}, &clock_, &observer_);
  ASSERT_TRUE(mine.ok() && other.ok());
  ASSERT_TRUE((*other)->Schedule(Group({{"other", 60}})).ok());
  other_executor.AwaitBatch();
  ASSERT_TRUE((*mine)->Schedule(Group({{"a", 50}})).ok());
  ASSERT_TRUE((*mine)->Schedule(Group({{"too large", 101}})).ok());
  EXPECT_EQ(endings_.Await("too large").status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(executor_.batches(), 0);
  other_executor.EndBatch();
  EXPECT_THAT(executor_.AwaitBatch(), ElementsAre("a"));
  executor_.EndBatch();
  ExpectOk("a");
  ExpectOk("other");
  mine->reset();
  other->reset();
  EXPECT_EQ(memory.reserved(), 0);
}

TEST_F(BatcherTest, EveryWorkerTakesFromTheOneQueue) {
  PuppetExecutor second;
  absl::StatusOr<std::unique_ptr<Batcher>> batcher = Batcher::Create(
      Options(), {{&executor_, &memory_}, {&second, &memory_}}, &clock_, &observer_);
  ASSERT_TRUE(batcher.ok());
  ASSERT_TRUE((*batcher)->Schedule(Group({{"a", 10}})).ok());
  while (executor_.batches() + second.batches() == 0) std::this_thread::yield();
  ASSERT_TRUE((*batcher)->Schedule(Group({{"b", 10}})).ok());
  executor_.AwaitBatch();
  second.AwaitBatch();
  executor_.EndBatch();
  second.EndBatch();
  ExpectOk("a");
  ExpectOk("b");
}

TEST_F(BatcherTest, ManyDevicesComputeAtOnce) {
  constexpr int kDevices = 8;
  std::deque<PuppetExecutor> executors(kDevices);
  std::deque<MemoryBudget> memories;
  std::vector<Worker> workers;
  for (PuppetExecutor& executor : executors) {
    workers.push_back({&executor, &memories.emplace_back(10)});
  }
  absl::StatusOr<std::unique_ptr<Batcher>> batcher =
      Batcher::Create(Options(), workers, &clock_, &observer_);
  ASSERT_TRUE(batcher.ok());
  // Each fills the memory of one device.
  for (int i = 0; i < kDevices; ++i) {
    ASSERT_TRUE((*batcher)->Schedule(Group({{absl::StrCat(i), 10}})).ok());
  }
  for (PuppetExecutor& executor : executors) EXPECT_EQ(executor.AwaitBatch().size(), 1u);
  for (const MemoryBudget& memory : memories) EXPECT_EQ(memory.reserved(), 10);
  // Whichever device is free takes what comes next.
  ASSERT_TRUE((*batcher)->Schedule(Group({{"next", 10}})).ok());
  executors[5].EndBatch();
  EXPECT_THAT(executors[5].AwaitBatch(), ElementsAre("next"));
  for (PuppetExecutor& executor : executors) executor.EndBatch();
  for (int i = 0; i < kDevices; ++i) ExpectOk(absl::StrCat(i));
  ExpectOk("next");
}

TEST_F(BatcherTest, AFullQueueRefusesAndLeavesOwnership) {
  Batcher::Options options = Options();
  options.max_queue_tokens = 100;
  Make(options);
  Occupy();
  MustSchedule(Group({{"a", 60}}));
  WorkGroup refused = Group({{"b", 20}, {"c", 21}});
  const absl::Status status = batcher_->Schedule(std::move(refused)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("60"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("41"));
  EXPECT_THAT(std::string(status.message()), HasSubstr("100"));
  ASSERT_EQ(refused.items.size(), 2u);
  refused.items.pop_back();
  refused.items.push_back(std::make_unique<NamedItem>("c", 20, &endings_));
  refused.client = 1;                // one client alone may not fill the queue
  MustSchedule(std::move(refused));  // exactly full
  executor_.EndBatch();
  ExpectOk("busy");
  EXPECT_THAT(executor_.AwaitBatch(), UnorderedElementsAre("a", "b", "c"));
  executor_.EndBatch();
  ExpectOk("c");
}

TEST_F(BatcherTest, TheNumberOfItemsIsBoundedToo) {
  Batcher::Options options = Options();
  options.max_queue_items = 2;
  Make(options);
  Occupy();
  MustSchedule(Group({{"a", 1}}));
  EXPECT_EQ(batcher_->Schedule(Group({{"b", 1}, {"c", 1}})).status().code(),
            absl::StatusCode::kResourceExhausted);
  WorkGroup other = Group({{"d", 1}});
  other.client = 1;
  MustSchedule(std::move(other));
  executor_.EndBatch();
  ExpectOk("busy");
  executor_.AwaitBatch();
  executor_.EndBatch();
  ExpectOk("d");
}

TEST_F(BatcherTest, AGroupThatNeverFitsIsOutOfRange) {
  Batcher::Options options = Options();
  options.max_queue_tokens = 100;
  Make(options);
  const absl::Status status = batcher_->Schedule(Group({{"a", 101}})).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), HasSubstr("101 tokens"));
}

TEST_F(BatcherTest, ExpiredWorkMakesRoomForNew) {
  Batcher::Options options = Options();
  options.max_queue_tokens = 100;
  Make(options);
  Occupy();
  MustSchedule(Group({{"stale", 100}}, absl::Milliseconds(10)));
  EXPECT_FALSE(batcher_->Schedule(Group({{"early", 1}})).ok());
  clock_.Advance(absl::Milliseconds(10));
  MustSchedule(Group({{"a", 100}}));
  EXPECT_EQ(endings_.Await("stale").status.code(), absl::StatusCode::kDeadlineExceeded);
  executor_.EndBatch();
  ExpectOk("busy");
  EXPECT_THAT(executor_.AwaitBatch(), ElementsAre("a"));
  executor_.EndBatch();
  ExpectOk("a");
}

TEST_F(BatcherTest, APassedDeadlineIsRefused) {
  Make();
  EXPECT_EQ(batcher_->Schedule(Group({{"a", 1}}, absl::ZeroDuration())).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(executor_.batches(), 0);
}

TEST_F(BatcherTest, EachItemGetsItsOwnStatus) {
  Make();
  MustSchedule(Group({{"good", 1}, {"bad", 1}}));
  executor_.AwaitBatch();
  executor_.EndBatchWith([](size_t) {
    return std::vector<absl::Status>{absl::OkStatus(), absl::OutOfRangeError("too long")};
  });
  ExpectOk("good");
  EXPECT_EQ(endings_.Await("bad").status, absl::OutOfRangeError("too long"));
}

TEST_F(BatcherTest, AnExecutorThatThrowsFailsItsBatchOnly) {
  Make();
  MustSchedule(Group({{"a", 1}}));
  executor_.AwaitBatch();
  executor_.EndBatchWith(
      [](size_t) -> std::vector<absl::Status> { throw std::runtime_error("device lost"); });
  const Ended a = endings_.Await("a");
  EXPECT_EQ(a.status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(a.status.message()), HasSubstr("device lost"));

  MustSchedule(Group({{"b", 1}}));
  executor_.AwaitBatch();
  executor_.EndBatchWith([](size_t) -> std::vector<absl::Status> { throw std::bad_alloc(); });
  EXPECT_EQ(endings_.Await("b").status.code(), absl::StatusCode::kResourceExhausted);

  MustSchedule(Group({{"c", 1}, {"d", 1}}));
  executor_.AwaitBatch();
  executor_.EndBatchWith([](size_t) { return std::vector<absl::Status>(3); });
  EXPECT_THAT(executor_.AwaitBatch(), ElementsAre("c"));  // whose fault was it?
  executor_.EndBatchWith([](size_t) { return std::vector<absl::Status>(); });
  EXPECT_EQ(endings_.Await("c").status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(executor_.AwaitBatch(), ElementsAre("d"));
  executor_.EndBatch();
  ExpectOk("d");

  MustSchedule(Group({{"e", 1}}));
  executor_.AwaitBatch();
  executor_.EndBatch();
  ExpectOk("e");
}

TEST_F(BatcherTest, DrainFinishesWhatWasAdmitted) {
  Make();
  Occupy();
  MustSchedule(Group({{"a", 1}}));
  auto drained = std::async(std::launch::async,
                            [&] { return batcher_->Drain(clock_.Now() + absl::Seconds(10)); });
  clock_.AwaitWaiters(1);
  EXPECT_EQ(batcher_->Schedule(Group({{"new", 1}})).status().code(),
            absl::StatusCode::kUnavailable);
  executor_.EndBatch();
  ExpectOk("busy");
  EXPECT_THAT(executor_.AwaitBatch(), ElementsAre("a"));
  executor_.EndBatch();
  EXPECT_TRUE(drained.get().ok());
  ExpectOk("a");
}

TEST_F(BatcherTest, DrainDropsWhatWaitsAtItsDeadline) {
  Make();
  Occupy();
  MustSchedule(Group({{"a", 1}, {"b", 1}}));
  auto drained = std::async(std::launch::async,
                            [&] { return batcher_->Drain(clock_.Now() + absl::Seconds(10)); });
  clock_.AwaitWaiters(1);
  clock_.Advance(absl::Seconds(10));
  const absl::Status status = drained.get();
  EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(status.message()), HasSubstr("2 waiting inputs"));
  EXPECT_EQ(endings_.Await("a").status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(endings_.Await("b").status.code(), absl::StatusCode::kUnavailable);
  executor_.EndBatch();
  ExpectOk("busy");
}

TEST_F(BatcherTest, DestructionEndsEveryItem) {
  Make();
  Occupy();
  MustSchedule(Group({{"a", 1}}));
  std::thread destroyer([&] { batcher_.reset(); });
  EXPECT_EQ(endings_.Await("a").status.code(), absl::StatusCode::kUnavailable);
  executor_.EndBatch();
  destroyer.join();
  ExpectOk("busy");
}

TEST_F(BatcherTest, TheObserverSeesQueueAndBatches) {
  Make();
  Occupy();
  const GroupId cancelled = MustSchedule(Group({{"x", 100}}));
  MustSchedule(Group({{"a", 20}, {"b", 30}}));
  EXPECT_EQ(observer_.sums().queue_tokens, 150);
  EXPECT_EQ(observer_.sums().queue_items, 3);
  batcher_->Cancel(cancelled);
  EXPECT_EQ(observer_.sums().queue_tokens, 50);
  clock_.Advance(absl::Seconds(2));
  executor_.EndBatch();
  ExpectOk("busy");
  executor_.AwaitBatch();
  clock_.Advance(absl::Seconds(1));
  executor_.EndBatch();
  ExpectOk("b");
  const SummingObserver::Sums sums = observer_.sums();
  EXPECT_EQ(sums.queue_tokens, 0);
  EXPECT_EQ(sums.queue_items, 0);
  EXPECT_EQ(sums.lowest_queue_tokens, 0);
  EXPECT_EQ(sums.dequeued, 4);               // busy, x, a, b
  EXPECT_EQ(sums.waited, absl::Seconds(4));  // a and b, two seconds each
  EXPECT_EQ(sums.batches, 2);
  EXPECT_EQ(sums.batch_items, 3);
  EXPECT_EQ(sums.batch_tokens, 51);
  EXPECT_EQ(sums.compute, absl::Seconds(3));
}

TEST(BatcherOptionsTest, ValidateNamesTheOption) {
  EXPECT_TRUE(Batcher::Options().Validate().ok());
  for (const auto& [name, field] : std::vector<std::pair<std::string, int64_t Batcher::Options::*>>{
           {"max_batch_tokens", &Batcher::Options::max_batch_tokens},
           {"max_batch_items", &Batcher::Options::max_batch_items},
           {"max_queue_tokens", &Batcher::Options::max_queue_tokens},
           {"max_queue_items", &Batcher::Options::max_queue_items},
           {"max_queue_bytes", &Batcher::Options::max_queue_bytes},
           {"long_item_tokens", &Batcher::Options::long_item_tokens}}) {
    Batcher::Options options;
    options.*field = 0;
    const absl::Status status = options.Validate();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  }
  Batcher::Options options;
  options.long_lane_share = 1;
  EXPECT_THAT(std::string(options.Validate().message()), HasSubstr("long_lane_share"));
  options = {};
  options.deadline_margin = 0.5;
  EXPECT_THAT(std::string(options.Validate().message()), HasSubstr("deadline_margin"));
  options = {};
  options.spin_time = absl::Nanoseconds(-1);
  EXPECT_THAT(std::string(options.Validate().message()), HasSubstr("spin_time"));
  options = {};
  options.max_batch_time = absl::ZeroDuration();
  EXPECT_THAT(std::string(options.Validate().message()), HasSubstr("max_batch_time"));
}

}  // namespace
}  // namespace longwave
