// Which lane is whose turn.
#include "tests/server/batching/scheduler_fixture.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using SchedulerLanesTest = SchedulerTest;

TEST_F(SchedulerLanesTest, LanesDoNotShareABatch) {
  Make();
  Admit({{"a", 10}, {"long", 2000}, {"b", 10}, {"long 2", 1001}, {"edge", 1000}});
  EXPECT_THAT(Start(), ElementsAre("a", "b", "edge"));
  EXPECT_EQ(batch_.lane, Lane::kShort);
  Finish();
  EXPECT_THAT(Start(), ElementsAre("long", "long 2"));
  EXPECT_EQ(batch_.lane, Lane::kLong);
  Finish();
}

TEST_F(SchedulerLanesTest, PredictedTimeMakesAnItemLong) {
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

TEST_F(SchedulerLanesTest, ALongBatchYieldsToShortWorkAndIsOwedItsShare) {
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

TEST_F(SchedulerLanesTest, TheLongLaneStartsWhenItIsOwedTime) {
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

TEST_F(SchedulerLanesTest, ADeviceThatSharesItselfRunsBothLanesAtOnce) {
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

TEST_F(SchedulerLanesTest, ALongBatchPausesForShortWorkAndIsOwedItsShare) {
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
  EXPECT_TRUE(
      scheduler_->MayResume(outer.id, now_));  // 30 ms of the short lane earn the long one 10 ms
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

TEST_F(SchedulerLanesTest, TimeThatALongBatchHasForItselfIsNoDebt) {
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

TEST_F(SchedulerLanesTest, ALongBatchMakesWayForItsOwnWorkersShortWorkOnly) {
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

TEST_F(SchedulerLanesTest, APausedBatchGoesOnToStopWhenNobodyWaitsForIt) {
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

TEST_F(SchedulerLanesTest, ABatchDoesNotPauseForShortWorkThatLacksMemory) {
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

TEST_F(SchedulerLanesTest, ABatchIsWantedUntilNobodyWaitsForAnyOfIt) {
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

}  // namespace
}  // namespace longwave
