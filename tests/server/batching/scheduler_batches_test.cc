// What is computed together, in which memory, and what becomes of it when it fails.
#include <map>

#include "absl/strings/str_cat.h"
#include "tests/server/batching/scheduler_fixture.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using SchedulerBatchesTest = SchedulerTest;

// --- What closes a batch ---

TEST_F(SchedulerBatchesTest, ALoneItemStartsAtOnce) {
  Make();
  EXPECT_FALSE(scheduler_->CanStart(0, Lanes::kBoth));
  Admit({{"a", 5}});
  EXPECT_TRUE(scheduler_->CanStart(0, Lanes::kBoth));
  EXPECT_THAT(Start(), ElementsAre("a"));
  Finish();
  EXPECT_EQ(CodeOf("a"), Code::kOk);
  EXPECT_TRUE(scheduler_->idle());
}

TEST_F(SchedulerBatchesTest, TokensCloseABatch) {
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

TEST_F(SchedulerBatchesTest, TheNumberOfItemsClosesABatch) {
  BatchingOptions options = Open();
  options.max_batch_items = 2;
  Make(options);
  Admit({{"a", 1}, {"b", 1}, {"c", 1}});
  EXPECT_THAT(Start(), ElementsAre("a", "b"));
  Finish();
  EXPECT_THAT(Start(), ElementsAre("c"));
  Finish();
}

TEST_F(SchedulerBatchesTest, PredictedTimeClosesABatchOnceItIsKnown) {
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

TEST_F(SchedulerBatchesTest, MemoryClosesABatch) {
  Make(Open(), /*memory=*/100);
  Admit({{"a", 60}, {"b", 30}, {"c", 20}});
  EXPECT_THAT(Start(), ElementsAre("a", "b"));
  EXPECT_EQ(budget_->reserved(), 90);
  Finish();
  EXPECT_EQ(budget_->reserved(), 0);
  EXPECT_THAT(Start(), ElementsAre("c"));
  Finish();
}

// --- Memory ---

TEST_F(SchedulerBatchesTest, AnItemThatCanNeverFitFailsAlone) {
  Make(Open(), /*memory=*/100);
  Admit({{"a", 10}, {"huge", 101}, {"b", 100}});
  EXPECT_EQ(CodeOf("huge"), Code::kOutOfRange);
  EXPECT_THAT(Start(), ElementsAre("a"));
  Finish();
  EXPECT_THAT(Start(), ElementsAre("b"));
  Finish();
  EXPECT_EQ(CodeOf("b"), Code::kOk);
}

TEST_F(SchedulerBatchesTest, ABatchThatIsTooMuchForTheDeviceIsSplit) {
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

TEST_F(SchedulerBatchesTest, OnlyWhatHadNoMemoryIsComputedAgain) {
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

TEST_F(SchedulerBatchesTest, AnItemWithoutMemoryBesideOthersIsTriedOnceMoreAlone) {
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

TEST_F(SchedulerBatchesTest, EstimatesAreRaisedAfterTheDeviceRanOutOfMemory) {
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

TEST_F(SchedulerBatchesTest, ALargeItemIsOvertakenOnlySoOftenForMemory) {
  Make(Open(), /*memory=*/3000, /*workers=*/2);
  Admit({{"first", 500}});
  ASSERT_THAT(Start(Lanes::kShort, 0), ElementsAre("first"));
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
  EXPECT_TRUE(scheduler_->CanStart(1, Lanes::kShort));  // it was the claim that was in the way
  EXPECT_TRUE(scheduler_->TakeMemoryReleased());
  EXPECT_THAT(Start(Lanes::kShort, 0), ElementsAre("short"));
  Finish();
  Finish(large);
}

TEST_F(SchedulerBatchesTest, AClaimOutlivesNeighboursThatExpire) {
  Make(Open(), /*memory=*/3000, /*workers=*/2);
  Admit({{"held", 500}});
  ASSERT_THAT(Start(Lanes::kShort, 0), ElementsAre("held"));
  const Batch held = batch_;
  Admit({{"large", 2900}});
  EXPECT_THAT(Start(Lanes::kLong, 1), IsEmpty());
  for (int i = 0; i < 2; ++i) {  // max_bypass of the fixture
    Admit({{absl::StrCat("short", i), 10}});
    EXPECT_THAT(Start(Lanes::kShort, 1), ElementsAre(absl::StrCat("short", i)));
    Finish();
    for (int k = 0; k < 20; ++k) {
      Admit({{absl::StrCat("neighbour", i, ".", k), 1500}}, absl::Milliseconds(1));
    }
    now_ += absl::Milliseconds(1);
    EXPECT_THAT(Start(Lanes::kLong, 1), IsEmpty());
    EXPECT_EQ(CodeOf(absl::StrCat("neighbour", i, ".19")), Code::kDeadlineExceeded);
  }
  Admit({{"short", 10}});
  EXPECT_THAT(Start(Lanes::kShort, 1), IsEmpty());
  Finish(held);
  EXPECT_THAT(Start(Lanes::kLong, 1), ElementsAre("large"));
  Finish();
  EXPECT_THAT(Start(Lanes::kShort, 1), ElementsAre("short"));
  Finish();
}

TEST_F(SchedulerBatchesTest, ACancelledClaimOnMemoryIsInNobodysWay) {
  Make(Open(), /*memory=*/3000, /*workers=*/2);
  Admit({{"first", 500}});
  ASSERT_THAT(Start(Lanes::kShort, 0), ElementsAre("first"));
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

TEST_F(SchedulerBatchesTest, MemoryIsNewsOnlyToThoseWhoWaitForIt) {
  Make(Open(), /*memory=*/3000, /*workers=*/2);
  Admit({{"first", 1500}});
  Start(Lanes::kLong, 0);
  Finish();
  EXPECT_FALSE(scheduler_->TakeMemoryReleased());
  Admit({{"second", 1500}});
  Start(Lanes::kLong, 0);
  const Batch second = batch_;
  Admit({{"large", 2900}});
  EXPECT_THAT(Start(Lanes::kLong, 1), IsEmpty());
  EXPECT_FALSE(scheduler_->TakeMemoryReleased());
  Finish(second);
  EXPECT_TRUE(scheduler_->TakeMemoryReleased());
  EXPECT_THAT(Start(Lanes::kLong, 1), ElementsAre("large"));
  EXPECT_TRUE(scheduler_->TakeMemoryReleased());  // the claim may have been in the way
  Finish();
  EXPECT_FALSE(scheduler_->TakeMemoryReleased());
}

// --- Isolation ---

TEST_F(SchedulerBatchesTest, TheItemThatBreaksItsBatchIsFoundAndFailsAlone) {
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

TEST_F(SchedulerBatchesTest, WhatIsToBeComputedAgainCanBeCancelledAndExpire) {
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

TEST_F(SchedulerBatchesTest, WorkersTakeFromOneQueue) {
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

TEST_F(SchedulerBatchesTest, ABatchEndsOnce) {
  Make(Open(), /*memory=*/100);
  Admit({{"a", 60}});
  Start();
  const Batch first = batch_;
  Finish();
  Admit({{"b", 60}});
  ASSERT_THAT(Start(), ElementsAre("b"));
  Finish(first);
  EXPECT_EQ(CodeOf("a"), Code::kOk);
  EXPECT_EQ(CodeOf("b"), std::nullopt);
  EXPECT_EQ(budget_->reserved(), 60);  // what "b" holds
  Finish();
  EXPECT_EQ(budget_->reserved(), 0);
}

}  // namespace
}  // namespace longwave
