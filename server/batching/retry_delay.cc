#include "server/batching/retry_delay.h"

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

constexpr char kPayload[] = "longwave/retry-delay-ns";
constexpr absl::Duration kLeast = absl::Milliseconds(1);
constexpr absl::Duration kMost = absl::Minutes(1);

}  // namespace

absl::Status BusyError(absl::string_view message, absl::Duration delay) {
  delay = std::clamp(delay, kLeast, kMost);
  absl::Status status = absl::ResourceExhaustedError(absl::StrCat(
      message, "; try again in ", absl::FormatDuration(absl::Ceil(delay, absl::Milliseconds(1)))));
  status.SetPayload(kPayload, absl::Cord(absl::StrCat(absl::ToInt64Nanoseconds(delay))));
  return status;
}

std::optional<absl::Duration> RetryDelay(const absl::Status& status) {
  const auto payload = status.GetPayload(kPayload);
  int64_t nanoseconds = 0;
  if (!payload.has_value() || !absl::SimpleAtoi(std::string(*payload), &nanoseconds)) {
    return std::nullopt;
  }
  return absl::Nanoseconds(nanoseconds);
}

}  // namespace longwave
