#include "model/tokenizer/fit.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace longwave {

absl::StatusOr<Fit> FitContent(int64_t content, int64_t special, int64_t max_tokens,
                               Overflow overflow) {
  if (content + special <= max_tokens) return Fit{content, 0};
  if (overflow == Overflow::kError) {
    return absl::OutOfRangeError(
        absl::StrCat("input: found ", content + special, " tokens, expected at most ", max_tokens));
  }
  const int64_t room = max_tokens - special;
  if (room < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens: found ", max_tokens, ", expected at least ", special + 1,
                     " for one token beside ", special, " special ones"));
  }
  return Fit{room, content - room};
}

}  // namespace longwave
