#ifndef LONGWAVE_MODEL_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_
#define LONGWAVE_MODEL_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "model/tokenizer/sentencepiece_model.h"
#include "model/tokenizer/tokenizer.h"

namespace longwave {

// Text by a SentencePiece model, between fixed prefix and suffix ids. Refuses raw bytes.
class SentencePieceTokenizer : public Tokenizer {
 public:
  // The model's ids, the prefix and the suffix are in [0, vocab_size).
  SentencePieceTokenizer(std::unique_ptr<const SentencePieceModel> model, int64_t vocab_size,
                         std::vector<int32_t> prefix_ids, std::vector<int32_t> suffix_ids)
      : model_(std::move(model)),
        vocab_size_(vocab_size),
        prefix_ids_(std::move(prefix_ids)),
        suffix_ids_(std::move(suffix_ids)) {}

  absl::StatusOr<TokenSequence> EncodeText(absl::string_view utf8, int64_t max_tokens,
                                           Overflow overflow) const override;
  absl::StatusOr<TokenSequence> EncodeBytes(absl::string_view bytes, int64_t max_tokens,
                                            Overflow overflow) const override;
  absl::string_view kind() const override { return "sentencepiece"; }
  int64_t vocab_size() const override { return vocab_size_; }

 private:
  const std::unique_ptr<const SentencePieceModel> model_;
  const int64_t vocab_size_;
  const std::vector<int32_t> prefix_ids_;
  const std::vector<int32_t> suffix_ids_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_TOKENIZER_SENTENCEPIECE_TOKENIZER_H_
