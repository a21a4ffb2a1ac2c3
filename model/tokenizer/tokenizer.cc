#include "model/tokenizer/tokenizer.h"

#include "absl/strings/str_cat.h"

namespace longwave {

absl::StatusOr<TokenSequence> Tokenizer::EncodeIds(absl::Span<const uint32_t> ids,
                                                   int64_t max_tokens, Overflow overflow) const {
  if (ids.empty()) {
    return absl::InvalidArgumentError("token ids: found none, expected at least one");
  }
  const auto found = static_cast<int64_t>(ids.size());
  if (found > max_tokens && overflow == Overflow::kError) {
    return absl::OutOfRangeError(
        absl::StrCat("input: found ", found, " tokens, expected at most ", max_tokens));
  }
  if (max_tokens < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_tokens: found ", max_tokens, ", expected at least 1"));
  }
  // All ids are checked, the dropped ones too: whether an input is valid does not depend on the
  // truncation.
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= static_cast<uint64_t>(vocab_size())) {
      return absl::InvalidArgumentError(absl::StrCat("token ids[", i, "]: found ", ids[i],
                                                     ", expected at most ", vocab_size() - 1));
    }
  }
  const int64_t kept = found < max_tokens ? found : max_tokens;
  TokenSequence sequence;
  sequence.ids.assign(ids.begin(), ids.begin() + kept);
  sequence.tokens_dropped = found - kept;
  return sequence;
}

}  // namespace longwave
