#include "model/tokenizer/byte_tokenizer.h"

#include <algorithm>

#include "absl/status/status.h"
#include "model/tokenizer/fit.h"
#include "model/tokenizer/utf8.h"

namespace longwave {

absl::StatusOr<TokenSequence> ByteTokenizer::EncodeText(absl::string_view utf8, int64_t max_tokens,
                                                        Overflow overflow) const {
  if (utf8.empty()) {
    return absl::InvalidArgumentError("text: found none, expected at least one character");
  }
  if (absl::Status status = ValidateUtf8(utf8); !status.ok()) return status;
  return Encode(utf8, max_tokens, overflow);
}

absl::StatusOr<TokenSequence> ByteTokenizer::EncodeBytes(absl::string_view bytes,
                                                         int64_t max_tokens,
                                                         Overflow overflow) const {
  if (bytes.empty()) {
    return absl::InvalidArgumentError("bytes: found none, expected at least one");
  }
  return Encode(bytes, max_tokens, overflow);
}

absl::StatusOr<TokenSequence> ByteTokenizer::Encode(absl::string_view bytes, int64_t max_tokens,
                                                    Overflow overflow) const {
  const absl::StatusOr<Fit> fit = FitContent(
      static_cast<int64_t>(bytes.size()),
      static_cast<int64_t>(prefix_ids_.size() + suffix_ids_.size()), max_tokens, overflow);
  if (!fit.ok()) return fit.status();
  TokenSequence sequence;
  sequence.tokens_dropped = fit->dropped;
  sequence.ids.resize(prefix_ids_.size() + fit->kept + suffix_ids_.size());
  auto out = std::copy(prefix_ids_.begin(), prefix_ids_.end(), sequence.ids.begin());
  out = std::transform(bytes.begin(), bytes.begin() + fit->kept, out,
                       [](char byte) { return static_cast<unsigned char>(byte); });
  std::copy(suffix_ids_.begin(), suffix_ids_.end(), out);
  return sequence;
}

}  // namespace longwave
