#include "model/tokenizer/tokenizer.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/tokenizer/fit.h"

namespace longwave {

absl::StatusOr<TokenSequence> Tokenizer::EncodeIds(absl::Span<const uint32_t> ids,
                                                   int64_t max_tokens, Overflow overflow) const {
  if (ids.empty()) {
    return absl::InvalidArgumentError("token ids: found none, expected at least one");
  }
  // All ids are checked, the dropped ones too: whether an input is valid does not depend on
  // truncation.
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= static_cast<uint64_t>(vocab_size())) {
      return absl::InvalidArgumentError(absl::StrCat("token ids[", i, "]: found ", ids[i],
                                                     ", expected at most ", vocab_size() - 1));
    }
  }
  const absl::StatusOr<Fit> fit =
      FitContent(static_cast<int64_t>(ids.size()), /*special=*/0, max_tokens, overflow);
  if (!fit.ok()) return fit.status();
  TokenSequence sequence;
  sequence.ids.assign(ids.begin(), ids.begin() + fit->kept);
  sequence.tokens_dropped = fit->dropped;
  return sequence;
}

}  // namespace longwave
