#include "server/batching/batching_options.h"

#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

absl::Status CheckPositive(absl::string_view name, int64_t value) {
  if (value >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": found ", value, ", expected at least 1"));
}

absl::Status CheckPositive(absl::string_view name, absl::Duration value) {
  if (value > absl::ZeroDuration()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": found ", absl::FormatDuration(value), ", expected more than 0"));
}

}  // namespace

absl::Status BatchingOptions::Validate() const {
  absl::Status status = CheckPositive("max_batch_tokens", max_batch_tokens);
  status.Update(CheckPositive("max_batch_items", max_batch_items));
  status.Update(CheckPositive("max_batch_time", max_batch_time));
  status.Update(CheckPositive("max_queue_tokens", max_queue_tokens));
  status.Update(CheckPositive("max_queue_items", max_queue_items));
  status.Update(CheckPositive("max_queue_bytes", max_queue_bytes));
  status.Update(CheckPositive("long_item_tokens", long_item_tokens));
  status.Update(CheckPositive("long_item_time", long_item_time));
  if (spin_time < absl::ZeroDuration()) {
    status.Update(absl::InvalidArgumentError(absl::StrCat(
        "spin_time: found ", absl::FormatDuration(spin_time), ", expected no negative time")));
  }
  if (!(long_lane_share > 0 && long_lane_share < 1)) {
    status.Update(absl::InvalidArgumentError(absl::StrCat(
        "long_lane_share: found ", long_lane_share, ", expected more than 0 and less than 1")));
  }
  if (!(deadline_margin == 0 || deadline_margin >= 1)) {
    status.Update(absl::InvalidArgumentError(absl::StrCat(
        "deadline_margin: found ", deadline_margin, ", expected 0 for none, or at least 1")));
  }
  return status;
}

}  // namespace longwave
