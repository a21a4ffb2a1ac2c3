#ifndef LONGWAVE_MODEL_TOKENIZER_IDS_TOKENIZER_H_
#define LONGWAVE_MODEL_TOKENIZER_IDS_TOKENIZER_H_

#include <cstdint>

#include "model/tokenizer/tokenizer.h"

namespace longwave {

// For models whose clients tokenise: takes token ids, refuses text and bytes.
class IdsTokenizer : public Tokenizer {
 public:
  explicit IdsTokenizer(int64_t vocab_size) : vocab_size_(vocab_size) {}

  absl::StatusOr<TokenSequence> EncodeText(absl::string_view utf8, int64_t max_tokens,
                                           Overflow overflow) const override;
  absl::StatusOr<TokenSequence> EncodeBytes(absl::string_view bytes, int64_t max_tokens,
                                            Overflow overflow) const override;
  absl::string_view kind() const override { return "ids"; }
  int64_t vocab_size() const override { return vocab_size_; }

 private:
  const int64_t vocab_size_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_TOKENIZER_IDS_TOKENIZER_H_
