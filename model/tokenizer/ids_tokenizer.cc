#include "model/tokenizer/ids_tokenizer.h"

#include "absl/status/status.h"

namespace longwave {

absl::StatusOr<TokenSequence> IdsTokenizer::EncodeText(absl::string_view, int64_t, Overflow) const {
  return absl::InvalidArgumentError("input: found text, expected token ids");
}

absl::StatusOr<TokenSequence> IdsTokenizer::EncodeBytes(absl::string_view, int64_t,
                                                        Overflow) const {
  return absl::InvalidArgumentError("input: found bytes, expected token ids");
}

}  // namespace longwave
