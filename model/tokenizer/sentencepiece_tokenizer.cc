#include "model/tokenizer/sentencepiece_tokenizer.h"

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/tokenizer/fit.h"
#include "model/tokenizer/utf8.h"

namespace longwave {

absl::StatusOr<TokenSequence> SentencePieceTokenizer::EncodeText(absl::string_view utf8,
                                                                 int64_t max_tokens,
                                                                 Overflow overflow) const {
  if (utf8.empty()) {
    return absl::InvalidArgumentError("text: found none, expected at least one character");
  }
  if (absl::Status status = ValidateUtf8(utf8); !status.ok()) return status;
  std::vector<int> pieces;
  std::string error;
  if (!model_->Encode(utf8.data(), utf8.size(), &pieces, &error)) {
    return absl::InternalError(absl::StrCat("text: SentencePiece failed: ", error));
  }
  const absl::StatusOr<Fit> fit = FitContent(
      static_cast<int64_t>(pieces.size()),
      static_cast<int64_t>(prefix_ids_.size() + suffix_ids_.size()), max_tokens, overflow);
  if (!fit.ok()) return fit.status();
  TokenSequence sequence;
  sequence.tokens_dropped = fit->dropped;
  sequence.ids.reserve(prefix_ids_.size() + fit->kept + suffix_ids_.size());
  sequence.ids.insert(sequence.ids.end(), prefix_ids_.begin(), prefix_ids_.end());
  sequence.ids.insert(sequence.ids.end(), pieces.begin(), pieces.begin() + fit->kept);
  sequence.ids.insert(sequence.ids.end(), suffix_ids_.begin(), suffix_ids_.end());
  if (sequence.ids.empty()) {  // white space only, and no special tokens
    return absl::InvalidArgumentError("text: found no token in it, expected at least one");
  }
  return sequence;
}

absl::StatusOr<TokenSequence> SentencePieceTokenizer::EncodeBytes(absl::string_view, int64_t,
                                                                  Overflow) const {
  return absl::InvalidArgumentError("input: found bytes, expected text or token ids");
}

}  // namespace longwave
