#ifndef LONGWAVE_SERVER_BATCHING_RETRY_DELAY_H_
#define LONGWAVE_SERVER_BATCHING_RETRY_DELAY_H_

#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace longwave {

// Says with an error when it is worth trying again. Of an OK status nothing is kept.
void SetRetryDelay(absl::Status& status, absl::Duration delay);

// What SetRetryDelay() has put there.
std::optional<absl::Duration> RetryDelay(const absl::Status& status);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_RETRY_DELAY_H_
