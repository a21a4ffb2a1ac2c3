#include "client/retry.h"

#include <google/rpc/error_details.pb.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/cord.h"
#include "client/from_grpc.h"

namespace longwave::client {
namespace {

constexpr double kGrowth = 2;
constexpr double kJitter = 0.5;  // of the wait, on top of it

}  // namespace

std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const auto payload = status.GetPayload(kRetryInfoType);
  google::rpc::RetryInfo info;
  if (!payload.has_value() || !info.ParseFromString(std::string(*payload)) ||
      !info.has_retry_delay()) {
    return std::nullopt;
  }
  return std::max(absl::ZeroDuration(), absl::Seconds(info.retry_delay().seconds()) +
                                            absl::Nanoseconds(info.retry_delay().nanos()));
}

std::optional<absl::Duration> BusyRetry::Next(const absl::Status& status, absl::Time now,
                                              double random) {
  if (--attempts_left_ <= 0 || !absl::IsResourceExhausted(status)) return std::nullopt;
  // What the server gives no delay for does not pass: a message over its limit.
  const std::optional<absl::Duration> asked = RetryDelay(status);
  if (!asked.has_value() || *asked > kMostDelay) return std::nullopt;
  const absl::Duration least = std::max(*asked, absl::Milliseconds(1));
  const absl::Duration backoff = std::min(least * std::pow(kGrowth, refusals_++), kMostBackoff);
  const absl::Duration wait = std::max(least, backoff) * (1 + kJitter * random);
  if (now + wait > last_start_) return std::nullopt;
  return wait;
}

}  // namespace longwave::client
