#include "client/retry_timers.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"

namespace longwave::client {
namespace {

TEST(RetryTimersTest, CallsWhenTheTimeIsOver) {
  const auto timers = std::make_shared<RetryTimers>();
  bool expired = false;
  absl::Notification ended;
  timers->Start(absl::Milliseconds(1), [&](bool value) {
    expired = value;
    ended.Notify();
  });
  ended.WaitForNotification();
  EXPECT_TRUE(expired);
}

TEST(RetryTimersTest, CancellingEndsWaitsUnderWayAndLaterOnes) {
  const auto timers = std::make_shared<RetryTimers>();
  absl::BlockingCounter ended(8);
  const auto count = [&](bool expired) {
    EXPECT_FALSE(expired);
    ended.DecrementCount();
  };
  for (int i = 0; i < 4; ++i) timers->Start(absl::Hours(1), count);
  timers->Cancel();
  for (int i = 0; i < 4; ++i) timers->Start(absl::Hours(1), count);
  ended.Wait();
}

// What the call holds may be the timers' last owner, and the time may be over before Start()
// returns.
TEST(RetryTimersTest, ACallMayDropEverythingWhileTheWaitStarts) {
  constexpr int kWaits = 2000;
  std::atomic<int> expired = 0;
  absl::BlockingCounter ended(kWaits);
  for (int i = 0; i < kWaits; ++i) {
    auto timers = std::make_shared<RetryTimers>();
    RetryTimers& started = *timers;
    auto keep = timers;  // as Attempts does
    started.Start(absl::ZeroDuration(),
                  [timers = std::move(timers), &expired, &ended](bool value) mutable {
                    timers.reset();
                    expired += value;
                    ended.DecrementCount();
                  });
  }
  ended.Wait();
  EXPECT_EQ(expired, kWaits);
}

}  // namespace
}  // namespace longwave::client
