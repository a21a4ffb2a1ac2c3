// What a long batch does for short ones, and they for it: in its gaps, or beside it on a device
// that computes both at once; of its own model and of others.
#include <chrono>
#include <future>

#include "absl/strings/str_cat.h"
#include "tests/server/batching/batcher_fixture.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;

class LanesTest : public BatcherTest {
 protected:
  // More than 100 tokens are long; the long lane earns a third of what short batches take.
  static Batcher::Options TwoLanes() {
    Batcher::Options options = Options();
    options.long_item_tokens = 100;
    options.long_lane_share = 0.25;
    return options;
  }
};

TEST_F(LanesTest, ShortBatchesRunInTheGapsOfALongOne) {
  Make(TwoLanes());
  MustSchedule(Group({{"long", 1000}}));
  EXPECT_THAT(executor_.AwaitBatch(), ElementsAre("long"));
  EXPECT_TRUE(executor_.ReachCheckpoint());  // nothing waits
  MustSchedule(Group({{"a", 10}}));
  MustSchedule(Group({{"b", 10}}));
  auto checkpoint = std::async(std::launch::async, [&] { return executor_.ReachCheckpoint(); });
  EXPECT_THAT(executor_.AwaitBatch(/*depth=*/2), ElementsAre("a", "b"));
  executor_.EndBatch();
  EXPECT_TRUE(checkpoint.get());
  ExpectOk("a");  // delivered although the long one goes on
  ExpectOk("b");
  executor_.EndBatch();
  ExpectOk("long");
  EXPECT_EQ(observer_.sums().yields, 1);
}

TEST_F(LanesTest, ALongBatchThatNobodyWaitsForStopsAtItsNextCheckpoint) {
  Make(TwoLanes());
  const GroupId id = MustSchedule(Group({{"a", 1000}}));
  executor_.AwaitBatch();
  EXPECT_TRUE(executor_.ReachCheckpoint());
  batcher_->Cancel(id);
  EXPECT_FALSE(executor_.ReachCheckpoint());
  executor_.EndBatch();
  EXPECT_EQ(endings_.Await("a").status.code(), absl::StatusCode::kCancelled);

  MustSchedule(Group({{"b", 1000}}, absl::Milliseconds(5)));
  EXPECT_THAT(executor_.AwaitBatch(), ElementsAre("b"));
  EXPECT_TRUE(executor_.ReachCheckpoint());
  clock_.Advance(absl::Milliseconds(5));
  EXPECT_FALSE(executor_.ReachCheckpoint());
  executor_.EndBatch();
  EXPECT_EQ(endings_.Await("b").status.code(), absl::StatusCode::kDeadlineExceeded);
}

// A model's worker on a device, and another's on the same.
class SharedGateTest : public LanesTest {
 protected:
  // A model whose long batch is held at its checkpoints, and another one.
  void MakeTwo(bool shares_device) {
    gate_.emplace(TwoLanes(), shares_device);
    mine_.emplace(shares_device);
    others_.emplace(shares_device);
    Worker mine{&*mine_, &memory_, &*gate_}, others{&*others_, &memory_, &*gate_};
    absl::StatusOr<std::unique_ptr<Batcher>> batcher =
        Batcher::Create(TwoLanes(), {mine}, &clock_, &observer_);
    absl::StatusOr<std::unique_ptr<Batcher>> other =
        Batcher::Create(TwoLanes(), {others}, &clock_, &observer_);
    ASSERT_TRUE(batcher.ok() && other.ok());
    batcher_ = *std::move(batcher);
    other_batcher_ = *std::move(other);
  }

  void TearDown() override {
    batcher_.reset();
    other_batcher_.reset();
  }

  GroupId ScheduleOther(const std::string& name) {
    absl::StatusOr<GroupId> id = other_batcher_->Schedule(Group({{name, 10}}));
    EXPECT_TRUE(id.ok()) << id.status();
    return id.value_or(0);
  }

  // Lets the oldest batch of my executor reach a checkpoint, and returns once it is held there.
  std::future<bool> ReachHeldCheckpoint() {
    std::future<bool> checkpoint =
        std::async(std::launch::async, [this] { return mine_->ReachCheckpoint(/*depth=*/1); });
    clock_.AwaitWaiters(1);
    return checkpoint;
  }

  static bool IsHeld(const std::future<bool>& checkpoint) {
    return checkpoint.wait_for(std::chrono::seconds(0)) == std::future_status::timeout;
  }

  std::optional<LaneGate> gate_;
  std::optional<PuppetExecutor> mine_, others_;
  std::unique_ptr<Batcher> other_batcher_;
};

TEST_F(SharedGateTest, ShortWorkHoldsTheLongBatchAtItsNextCheckpoint) {
  MakeTwo(/*shares_device=*/true);
  MustSchedule(Group({{"long", 1000}}));
  EXPECT_THAT(mine_->AwaitBatch(), ElementsAre("long"));
  EXPECT_TRUE(mine_->ReachCheckpoint());  // nothing is in its way
  MustSchedule(Group({{"a", 10}}));
  EXPECT_THAT(mine_->AwaitBatch(/*depth=*/2), ElementsAre("a"));  // at once
  std::future<bool> checkpoint = ReachHeldCheckpoint();
  EXPECT_TRUE(IsHeld(checkpoint));
  mine_->EndBatch();
  ExpectOk("a");
  EXPECT_TRUE(checkpoint.get());
  mine_->EndBatch();
  ExpectOk("long");
}

TEST_F(SharedGateTest, HoweverMuchShortWorkThereIsTheLongBatchHasItsShare) {
  MakeTwo(/*shares_device=*/true);
  MustSchedule(Group({{"long", 1000}}));
  mine_->AwaitBatch();
  MustSchedule(Group({{"0", 10}}));
  EXPECT_THAT(mine_->AwaitBatch(/*depth=*/2), ElementsAre("0"));
  for (int i = 1; i <= 5; ++i) {
    std::future<bool> checkpoint = ReachHeldCheckpoint();
    MustSchedule(Group({{absl::StrCat(i), 10}}));  // there is always short work
    clock_.Advance(absl::Milliseconds(i == 1 ? 30 : 20));
    EXPECT_TRUE(IsHeld(checkpoint));
    mine_->EndBatch();  // its 30 ms earn the long one 10 ms
    EXPECT_TRUE(checkpoint.get());
    EXPECT_THAT(mine_->AwaitBatch(/*depth=*/2), ElementsAre(absl::StrCat(i)));
    clock_.Advance(absl::Milliseconds(9));
    EXPECT_TRUE(mine_->ReachCheckpoint(/*depth=*/1));
    clock_.Advance(absl::Milliseconds(1));
  }
  mine_->EndBatch();
  ExpectOk("5");
  mine_->EndBatch();
  ExpectOk("long");
  // The five times ten milliseconds beside short work, and none of those that it was held.
  EXPECT_EQ(endings_.Await("long").timing.compute, absl::Milliseconds(50));
}

TEST_F(SharedGateTest, ALongBatchThatIsHeldCanBeCancelled) {
  MakeTwo(/*shares_device=*/true);
  const GroupId id = MustSchedule(Group({{"long", 1000}}));
  mine_->AwaitBatch();
  MustSchedule(Group({{"a", 10}}));
  mine_->AwaitBatch(/*depth=*/2);
  std::future<bool> checkpoint = ReachHeldCheckpoint();
  batcher_->Cancel(id);
  EXPECT_FALSE(checkpoint.get());
  mine_->EndBatch(/*depth=*/1);
  EXPECT_EQ(endings_.Await("long").status.code(), absl::StatusCode::kCancelled);
  mine_->EndBatch();
  ExpectOk("a");
}

TEST_F(SharedGateTest, ALongBatchThatIsHeldStopsAtItsDeadline) {
  MakeTwo(/*shares_device=*/true);
  MustSchedule(Group({{"long", 1000}}, absl::Milliseconds(20)));
  mine_->AwaitBatch();
  MustSchedule(Group({{"a", 10}}));
  mine_->AwaitBatch(/*depth=*/2);
  std::future<bool> checkpoint = ReachHeldCheckpoint();
  clock_.Advance(absl::Milliseconds(20));
  EXPECT_FALSE(checkpoint.get());
  mine_->EndBatch(/*depth=*/1);
  EXPECT_EQ(endings_.Await("long").status.code(), absl::StatusCode::kDeadlineExceeded);
  mine_->EndBatch();
  ExpectOk("a");
}

TEST_F(SharedGateTest, ShortWorkOfAnotherModelHoldsItToo) {
  for (const bool shares_device : {true, false}) {
    MakeTwo(shares_device);
    const std::string suffix = shares_device ? " beside" : " in turns";
    MustSchedule(Group({{"long" + suffix, 1000}}));
    mine_->AwaitBatch();
    ScheduleOther("theirs" + suffix);
    EXPECT_THAT(others_->AwaitBatch(), ElementsAre("theirs" + suffix));
    std::future<bool> checkpoint = ReachHeldCheckpoint();
    EXPECT_TRUE(IsHeld(checkpoint));
    others_->EndBatch();
    ExpectOk("theirs" + suffix);
    EXPECT_TRUE(checkpoint.get());
    mine_->EndBatch();
    ExpectOk("long" + suffix);
    TearDown();
  }
}

TEST_F(SharedGateTest, WhatAnotherModelsShortBatchesTakeEarnsItTime) {
  MakeTwo(/*shares_device=*/true);
  MustSchedule(Group({{"long", 1000}}));
  mine_->AwaitBatch();
  ScheduleOther("a");
  others_->AwaitBatch();
  std::future<bool> checkpoint = ReachHeldCheckpoint();
  ScheduleOther("b");
  clock_.Advance(absl::Milliseconds(30));
  others_->EndBatch();
  EXPECT_TRUE(checkpoint.get());  // although b is there
  EXPECT_THAT(others_->AwaitBatch(), ElementsAre("b"));
  clock_.Advance(absl::Milliseconds(10));
  checkpoint = ReachHeldCheckpoint();
  EXPECT_TRUE(IsHeld(checkpoint));
  others_->EndBatch();
  EXPECT_TRUE(checkpoint.get());
  mine_->EndBatch();
  ExpectOk("long");
}

TEST_F(SharedGateTest, WhileItIsHeldForAnotherModelItComputesItsOwnShortWork) {
  MakeTwo(/*shares_device=*/false);
  MustSchedule(Group({{"long", 1000}}));
  mine_->AwaitBatch();
  ScheduleOther("theirs");
  others_->AwaitBatch();
  std::future<bool> checkpoint = ReachHeldCheckpoint();
  MustSchedule(Group({{"mine", 10}}));
  EXPECT_THAT(mine_->AwaitBatch(/*depth=*/2), ElementsAre("mine"));
  mine_->EndBatch();
  ExpectOk("mine");
  clock_.AwaitWaiters(1);  // held again
  EXPECT_TRUE(IsHeld(checkpoint));
  others_->EndBatch();
  EXPECT_TRUE(checkpoint.get());
  mine_->EndBatch();
  ExpectOk("long");
}

TEST_F(SharedGateTest, WorkThatAnotherModelGivesUpHoldsNothing) {
  MakeTwo(/*shares_device=*/true);
  MustSchedule(Group({{"long", 1000}}));
  mine_->AwaitBatch();
  ScheduleOther("a");
  others_->AwaitBatch();
  const GroupId waiting = ScheduleOther("b");
  std::future<bool> checkpoint = ReachHeldCheckpoint();
  other_batcher_->Cancel(waiting);
  EXPECT_TRUE(IsHeld(checkpoint));  // for a
  others_->EndBatch();
  EXPECT_TRUE(checkpoint.get());
  mine_->EndBatch();
  ExpectOk("long");
}

}  // namespace
}  // namespace longwave
