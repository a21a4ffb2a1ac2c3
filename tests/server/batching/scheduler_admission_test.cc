// What is let into the queue, whose turn it is there, and what leaves it without being computed.
#include "absl/strings/str_cat.h"
#include "server/batching/retry_delay.h"
#include "tests/server/batching/scheduler_fixture.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;

class SchedulerAdmissionTest : public SchedulerTest {
 protected:
  // Predictions are known, refuse what cannot be in time, and close batches at 50 ms.
  void MakeTimed(int workers = 1) {
    BatchingOptions options = Open();
    options.deadline_margin = 1;
    options.max_batch_time = absl::Milliseconds(50);
    Make(options, /*memory=*/0, workers);
    Teach();
  }
};

// --- Fairness ---

TEST_F(SchedulerAdmissionTest, AFlooderDoesNotHoldUpOtherClients) {
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

TEST_F(SchedulerAdmissionTest, AFlooderLeavesRoomInTheQueue) {
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

TEST_F(SchedulerAdmissionTest, PrioritiesOrderAClientsItems) {
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

TEST_F(SchedulerAdmissionTest, AFullQueueRefusesAtOnceAndSaysWhenToComeAgain) {
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

TEST_F(SchedulerAdmissionTest, BeforeAnythingIsMeasuredARefusalNamesASecond) {
  BatchingOptions options = Open();
  options.max_queue_items = 2;
  Make(options);
  Admit({{"a", 1}, {"b", 1}});
  EXPECT_EQ(RetryDelay(TryAdmit(Group({{"c", 1}})).status()), absl::Seconds(1));
  Start();
  Finish();
}

TEST_F(SchedulerAdmissionTest, BytesAreBoundedToo) {
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

TEST_F(SchedulerAdmissionTest, ADeadlineThatIsTooShortForTheGroupItselfIsRefused) {
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

TEST_F(SchedulerAdmissionTest, AWrongPredictionDoesNotRefuseForEver) {
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

TEST_F(SchedulerAdmissionTest, DoubtMakesNoBatchLarger) {
  MakeTimed();
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(TryAdmit(Group({{"hopeless", 100}}, absl::Milliseconds(10))).status().code(),
              Code::kDeadlineExceeded);
  }
  Admit({{"a", 40}, {"b", 40}});  // 80 ms, of which doubt once made 47
  EXPECT_THAT(Start(), ElementsAre("a"));
  Finish();
  Start();
  Finish();
}

TEST_F(SchedulerAdmissionTest, HopelessRequestsCastNoDoubtWhileABatchMayCorrectThePrediction) {
  MakeTimed(/*workers=*/2);
  Admit({{"running", 100}});
  ASSERT_THAT(Start(), ElementsAre("running"));
  const Batch running = batch_;
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(TryAdmit(Group({{"hopeless", 100}}, absl::Milliseconds(99))).status().code(),
              Code::kDeadlineExceeded);
  }
  Admit({{"a", 40}, {"b", 40}});
  EXPECT_THAT(Start(Lanes::kBoth, 1), ElementsAre("a"));  // max_batch_time holds
  Finish();
  Finish(running);
  Start();
  Finish();
}

TEST_F(SchedulerAdmissionTest, DroppedItemsCastNoDoubtWhereAnotherIsComputedInstead) {
  MakeTimed();
  for (int i = 0; i < 30; ++i) {
    Admit({{absl::StrCat("hopeless", i), 1}}, absl::Milliseconds(100));
  }
  Admit({{"a", 40}, {"b", 40}});
  now_ += absl::Milliseconds(99.5);
  EXPECT_THAT(Start(), ElementsAre("a"));
  EXPECT_EQ(observer_.sums().dropped[static_cast<size_t>(Drop::kExpired)], 30);
  Finish();
  Start();
  Finish();
}

TEST_F(SchedulerAdmissionTest, WhatCannotMeetItsDeadlineBehindOthersIsRefused) {
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
  EXPECT_FALSE(RetryDelay(status).has_value());  // in a while it will be no better
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

TEST_F(SchedulerAdmissionTest, MoreWorkersMeetMoreDeadlines) {
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

TEST_F(SchedulerAdmissionTest, ADeadlineThatCanNoLongerBeMetCostsNoCompute) {
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

TEST_F(SchedulerAdmissionTest, ExpiredAndCancelledItemsCostNoCompute) {
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

}  // namespace
}  // namespace longwave
