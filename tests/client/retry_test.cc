#include "client/retry.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <gtest/gtest.h>

#include "client/from_grpc.h"

namespace longwave::client {
namespace {

constexpr absl::Time kStart = absl::UnixEpoch();

// What a busy server answers.
absl::Status Refusal(absl::Duration delay) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(delay));
  info.mutable_retry_delay()->set_nanos(
      static_cast<int>(absl::ToInt64Nanoseconds(delay % absl::Seconds(1))));
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  return FromGrpc({grpc::StatusCode::RESOURCE_EXHAUSTED, "busy", details.SerializeAsString()});
}

TEST(RetryDelayTest, IsWhatTheServerAskedFor) {
  EXPECT_EQ(RetryDelay(Refusal(absl::Milliseconds(2345))), absl::Milliseconds(2345));
  EXPECT_EQ(RetryDelay(Refusal(-absl::Seconds(3))), absl::ZeroDuration());
  EXPECT_EQ(RetryDelay(absl::ResourceExhaustedError("busy")), std::nullopt);
  EXPECT_EQ(RetryDelay(FromGrpc({grpc::StatusCode::RESOURCE_EXHAUSTED, "busy", "no message"})),
            std::nullopt);
  EXPECT_EQ(RetryDelay(absl::OkStatus()), std::nullopt);
}

TEST(BusyRetryTest, WaitsAtLeastAsLongAsItIsAskedAndLongerEachTime) {
  BusyRetry retry(10, kStart, absl::InfiniteDuration());
  EXPECT_EQ(retry.Next(Refusal(absl::Seconds(1)), kStart, 0), absl::Seconds(1));
  EXPECT_EQ(retry.Next(Refusal(absl::Seconds(1)), kStart, 0), absl::Seconds(2));
  EXPECT_EQ(retry.Next(Refusal(absl::Seconds(1)), kStart, 0.5), absl::Seconds(5));  // 4 + 25%
  EXPECT_EQ(retry.Next(Refusal(absl::Milliseconds(10)), kStart, 0), absl::Milliseconds(80));
  EXPECT_EQ(retry.Next(Refusal(absl::Seconds(2)), kStart, 0), BusyRetry::kMostBackoff);
  EXPECT_EQ(retry.Next(Refusal(absl::Minutes(1)), kStart, 0), absl::Minutes(1));
}

TEST(BusyRetryTest, EndsAfterSoManyAttempts) {
  BusyRetry retry(3, kStart, absl::InfiniteDuration());
  EXPECT_TRUE(retry.Next(Refusal(absl::Seconds(1)), kStart, 0).has_value());
  EXPECT_TRUE(retry.Next(Refusal(absl::Seconds(1)), kStart, 0).has_value());
  EXPECT_FALSE(retry.Next(Refusal(absl::Seconds(1)), kStart, 0).has_value());
  EXPECT_FALSE(
      BusyRetry(1, kStart, absl::InfiniteDuration()).Next(Refusal(absl::Seconds(1)), kStart, 0));
}

TEST(BusyRetryTest, LeavesHalfOfTheTimeToTheNextAttempt) {
  constexpr absl::Duration kTimeout = absl::Seconds(6);
  BusyRetry retry(10, kStart, kTimeout);
  EXPECT_EQ(retry.deadline(), kStart + kTimeout);
  EXPECT_EQ(retry.Next(Refusal(absl::Seconds(3)), kStart, 0), absl::Seconds(3));
  EXPECT_FALSE(BusyRetry(10, kStart, kTimeout).Next(Refusal(absl::Seconds(3)), kStart, 0.1));
  EXPECT_FALSE(BusyRetry(10, kStart, kTimeout)
                   .Next(Refusal(absl::Seconds(2)), kStart + absl::Milliseconds(1001), 0));
}

TEST(BusyRetryTest, DoesNotWaitForeverWithoutADeadline) {
  BusyRetry retry(10, kStart, absl::InfiniteDuration());
  EXPECT_TRUE(retry.Next(Refusal(BusyRetry::kMostDelay), kStart, 0.9).has_value());
  EXPECT_FALSE(retry.Next(Refusal(BusyRetry::kMostDelay + absl::Seconds(1)), kStart, 0));
}

TEST(BusyRetryTest, OnlyWhatPassesIsTriedAgain) {
  BusyRetry retry(10, kStart, absl::InfiniteDuration());
  EXPECT_FALSE(retry.Next(absl::OkStatus(), kStart, 0));
  EXPECT_FALSE(retry.Next(absl::ResourceExhaustedError("larger than max"), kStart, 0));
  EXPECT_FALSE(retry.Next(absl::InternalError("a bug"), kStart, 0));
}

}  // namespace
}  // namespace longwave::client
