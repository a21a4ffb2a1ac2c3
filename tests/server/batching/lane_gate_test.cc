#include "server/batching/lane_gate.h"

#include <gtest/gtest.h>

namespace longwave {
namespace {

// The long lane earns a third of what short batches take.
class LaneGateTest : public ::testing::Test {
 protected:
  static BatchingOptions Options() {
    BatchingOptions options;
    options.long_lane_share = 0.25;
    options.max_batch_time = absl::Milliseconds(50);
    return options;
  }

  static LaneGate::State Short() { return {/*short_work=*/true, false, 0, 0}; }
  static LaneGate::State Going() { return {false, /*long_work=*/true, /*going=*/1, 0}; }
  static LaneGate::State Stopped() { return {false, /*long_work=*/true, 0, /*stopped=*/1}; }

  bool Set(int member, const LaneGate::State& state) { return gate_.Update(member, state, now_); }
  void Pass(int64_t ms) { now_ += absl::Milliseconds(ms); }
  // A short batch of `ms` ends now.
  bool ShortDone(int64_t ms) { return gate_.OnShortDone(absl::Milliseconds(ms), now_); }

  absl::Time now_ = absl::UnixEpoch();
  LaneGate gate_{Options(), /*shares_device=*/true};
  const int one_ = gate_.Join(), other_ = gate_.Join();
};

TEST_F(LaneGateTest, IsShutWhileAnyMemberHasShortWork) {
  EXPECT_TRUE(gate_.MayGoOn(now_));
  Set(one_, Going());
  EXPECT_TRUE(gate_.MayGoOn(now_));
  EXPECT_FALSE(gate_.crowded());
  Set(other_, Short());
  EXPECT_FALSE(gate_.MayGoOn(now_));
  EXPECT_TRUE(gate_.crowded());
  EXPECT_FALSE(Set(one_, Stopped()));
  EXPECT_TRUE(Set(other_, {}));  // the stopped one wants to know
  EXPECT_TRUE(gate_.MayGoOn(now_));
  EXPECT_FALSE(Set(one_, Going()));
}

TEST_F(LaneGateTest, NobodyWantsToKnowWhenNothingIsStopped) {
  Set(one_, Going());
  Set(other_, Short());
  EXPECT_FALSE(ShortDone(30));
  EXPECT_FALSE(Set(other_, {}));
}

TEST_F(LaneGateTest, ShortBatchesEarnTheLongLaneItsShareWhoeverComputesThem) {
  Set(one_, Stopped());
  Set(other_, Short());
  Pass(30);
  EXPECT_TRUE(ShortDone(30));  // 10 ms are earned
  EXPECT_TRUE(gate_.IsLongOwed(now_));
  Set(one_, Going());
  Pass(9);
  EXPECT_TRUE(gate_.MayGoOn(now_));
  Pass(1);
  EXPECT_FALSE(gate_.MayGoOn(now_));
}

TEST_F(LaneGateTest, WhileItIsStoppedTheLongLaneUsesNothingUp) {
  Set(one_, Stopped());
  Set(other_, Short());
  ShortDone(30);
  Pass(1000);
  EXPECT_TRUE(gate_.MayGoOn(now_));
}

TEST_F(LaneGateTest, LongBatchesOfSeveralMembersUseTheTimeUpTogether) {
  const int third = gate_.Join();
  Set(one_, Going());
  Set(third, Going());
  Set(other_, Short());
  ShortDone(30);
  Pass(9);
  EXPECT_TRUE(gate_.MayGoOn(now_));
  Pass(1);
  EXPECT_FALSE(gate_.MayGoOn(now_));
}

TEST_F(LaneGateTest, TimeWithoutShortWorkIsNotChargedAndDebtsEndWithIt) {
  Set(one_, Going());
  Set(other_, Short());
  Pass(20);  // until its checkpoint: a debt of 20 ms
  Set(one_, Stopped());
  EXPECT_FALSE(ShortDone(30));  // of which it works off 10
  EXPECT_FALSE(gate_.MayGoOn(now_));
  EXPECT_TRUE(Set(other_, {}));
  Set(one_, Going());
  Pass(1000);
  Set(other_, Short());
  EXPECT_FALSE(gate_.MayGoOn(now_));
  EXPECT_FALSE(ShortDone(0));
  EXPECT_FALSE(gate_.IsLongOwed(now_));
  ShortDone(3);
  EXPECT_TRUE(gate_.IsLongOwed(now_));  // nothing is left of the debt
}

TEST_F(LaneGateTest, DebtAndEarningsAreBoundedByABatch) {
  Set(one_, Going());
  Set(other_, Short());
  Pass(1000);  // a debt of 50 ms at most
  Set(one_, Stopped());
  EXPECT_FALSE(ShortDone(149));
  EXPECT_TRUE(ShortDone(4));  // however much short work there is, the long lane comes to its turn
  for (int i = 0; i < 100; ++i) ShortDone(30);
  Set(one_, Going());
  Pass(49);
  EXPECT_TRUE(gate_.MayGoOn(now_));
  Pass(1);
  EXPECT_FALSE(gate_.MayGoOn(now_));
}

TEST_F(LaneGateTest, NothingIsOwedToALaneWithoutWork) {
  Set(other_, Short());
  ShortDone(30);
  Set(one_, Stopped());
  EXPECT_FALSE(gate_.MayGoOn(now_));
  ShortDone(30);
  EXPECT_TRUE(gate_.MayGoOn(now_));
  Set(one_, {});
  Set(one_, Stopped());
  EXPECT_FALSE(gate_.MayGoOn(now_));
}

TEST_F(LaneGateTest, WithoutASharedDeviceThereIsNoDebt) {
  LaneGate gate(Options(), /*shares_device=*/false);
  const int one = gate.Join(), other = gate.Join();
  gate.Update(one, Going(), now_);
  gate.Update(other, Short(), now_);
  Pass(20);
  gate.OnShortDone(absl::Milliseconds(3), now_);
  EXPECT_TRUE(gate.MayGoOn(now_));
}

TEST_F(LaneGateTest, WhoLeavesShutsNothing) {
  Set(one_, Stopped());
  Set(other_, Short());
  gate_.Leave(other_, now_);
  EXPECT_TRUE(gate_.MayGoOn(now_));
  EXPECT_TRUE(gate_.has_long());
  gate_.Leave(one_, now_);
  EXPECT_FALSE(gate_.has_long());
}

TEST_F(LaneGateTest, TheTimeOfAnotherMembersLateCallCountsForNothing) {
  Set(one_, Going());
  Set(other_, Short());
  ShortDone(30);
  Pass(4);
  EXPECT_TRUE(gate_.MayGoOn(now_));
  EXPECT_TRUE(gate_.MayGoOn(now_ - absl::Milliseconds(3)));
  Pass(5);
  EXPECT_TRUE(gate_.MayGoOn(now_));
  Pass(1);
  EXPECT_FALSE(gate_.MayGoOn(now_));
}

}  // namespace
}  // namespace longwave
