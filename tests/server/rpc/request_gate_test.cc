#include "server/rpc/request_gate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/batching/retry_delay.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;

TEST(RequestGateTest, BytesAreBoundedAndGivenBack) {
  RequestGate gate(100);
  ASSERT_TRUE(gate.TryEnter());
  ASSERT_TRUE(gate.TryEnter());
  EXPECT_TRUE(gate.TryHold(70).ok());
  const absl::Status full = gate.TryHold(31);
  EXPECT_EQ(full.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(full.message()), HasSubstr("hold 70 bytes, this one has 31"));
  EXPECT_TRUE(gate.TryHold(30).ok());
  gate.Leave(70, absl::Seconds(1));
  ASSERT_TRUE(gate.TryEnter());
  EXPECT_TRUE(gate.TryHold(70).ok());
}

TEST(RequestGateTest, ARefusalSaysWhenThereShouldBeRoom) {
  RequestGate gate(100);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(gate.TryEnter());
  ASSERT_TRUE(gate.TryHold(80).ok());
  EXPECT_EQ(RetryDelay(gate.TryHold(30)), kUnknownRetryDelay);  // nothing has left yet
  gate.Leave(80, absl::Seconds(4));
  ASSERT_TRUE(gate.TryHold(80).ok());
  // What is inside leaves in 4 s, an eighth of it is enough.
  EXPECT_EQ(RetryDelay(gate.TryHold(30)), absl::Milliseconds(500));
  gate.Leave(80, absl::Seconds(2));  // more than is remembered
  ASSERT_TRUE(gate.TryEnter());
  ASSERT_TRUE(gate.TryHold(80).ok());
  EXPECT_EQ(RetryDelay(gate.TryHold(30)), absl::Milliseconds(250));
  EXPECT_EQ(RetryDelay(gate.TryHold(1000)), absl::Seconds(2));  // not before all have left
}

TEST(RequestGateTest, LetsNobodyInOnceClosed) {
  RequestGate gate(100);
  ASSERT_TRUE(gate.TryEnter());
  gate.Close();
  EXPECT_FALSE(gate.TryEnter());
  EXPECT_EQ(gate.AwaitEmpty(Clock::Monotonic(), absl::InfinitePast()), 1);
  gate.Leave(0, absl::Seconds(1));
  EXPECT_EQ(gate.AwaitEmpty(Clock::Monotonic(), absl::InfinitePast()), 0);
}

}  // namespace
}  // namespace longwave
