#ifndef LONGWAVE_CLIENT_RETRY_H_
#define LONGWAVE_CLIENT_RETRY_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace longwave::client {

// How long the server asks to wait before a request that it had no room for is sent again
// (google.rpc.RetryInfo in the status's details); nothing when it does not say.
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

// Decides when one request that was refused for want of room is sent again, as google.rpc.RetryInfo
// asks for: never before the delay that the server names, later the more often the request was
// refused, and at a random time after that, so that clients that were refused together do not come
// back together. Thread-compatible.
class BusyRetry {
 public:
  // Waits grow up to this, unless the server names a longer one.
  static constexpr absl::Duration kMostBackoff = absl::Seconds(10);

  // The longest delay that is waited for, whatever the deadline; a Longwave server names none
  // longer.
  static constexpr absl::Duration kMostDelay = absl::Minutes(1);

  // max_attempts: in all, at least 1. timeout: from `start`, positive, InfiniteDuration for none.
  // Nothing is sent again after half of it: a request without room is also one that would not be
  // answered by its deadline, and with less time left it mostly would be refused for that again.
  BusyRetry(int max_attempts, absl::Time start, absl::Duration timeout)
      : attempts_left_(max_attempts),
        last_start_(start + timeout / 2),
        deadline_(start + timeout) {}

  // How long to wait after an attempt that has ended with `status`; nothing: that is the answer.
  // `random` is uniform in [0, 1).
  std::optional<absl::Duration> Next(const absl::Status& status, absl::Time now, double random);

  absl::Time deadline() const { return deadline_; }

 private:
  int attempts_left_;
  const absl::Time last_start_;
  const absl::Time deadline_;
  int refusals_ = 0;
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_RETRY_H_
