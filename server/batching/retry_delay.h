#ifndef LONGWAVE_SERVER_BATCHING_RETRY_DELAY_H_
#define LONGWAVE_SERVER_BATCHING_RETRY_DELAY_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace longwave {

// When to try again as long as nothing has been measured that would tell.
inline constexpr absl::Duration kUnknownRetryDelay = absl::Seconds(1);

// RESOURCE_EXHAUSTED for want of something that others will give back after `delay`, as far as can
// be told; the status and its message say so. The delay is taken for 1 ms at least and a minute at
// most.
absl::Status BusyError(absl::string_view message, absl::Duration delay);

// What BusyError() has put there.
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_RETRY_DELAY_H_
