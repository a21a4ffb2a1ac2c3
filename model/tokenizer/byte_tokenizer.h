#ifndef LONGWAVE_MODEL_TOKENIZER_BYTE_TOKENIZER_H_
#define LONGWAVE_MODEL_TOKENIZER_BYTE_TOKENIZER_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "model/tokenizer/tokenizer.h"

namespace longwave {

// Byte b is id b; special ids come from 256 on. Text and raw bytes give the same ids.
class ByteTokenizer : public Tokenizer {
 public:
  // `vocab_size` is at least 256; prefix and suffix ids are in [0, vocab_size).
  ByteTokenizer(int64_t vocab_size, std::vector<int32_t> prefix_ids,
                std::vector<int32_t> suffix_ids)
      : vocab_size_(vocab_size),
        prefix_ids_(std::move(prefix_ids)),
        suffix_ids_(std::move(suffix_ids)) {}

  absl::StatusOr<TokenSequence> EncodeText(absl::string_view utf8, int64_t max_tokens,
                                           Overflow overflow) const override;
  absl::StatusOr<TokenSequence> EncodeBytes(absl::string_view bytes, int64_t max_tokens,
                                            Overflow overflow) const override;
  absl::string_view kind() const override { return "byte"; }
  int64_t vocab_size() const override { return vocab_size_; }

 private:
  absl::StatusOr<TokenSequence> Encode(absl::string_view bytes, int64_t max_tokens,
                                       Overflow overflow) const;

  const int64_t vocab_size_;
  const std::vector<int32_t> prefix_ids_;
  const std::vector<int32_t> suffix_ids_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_TOKENIZER_BYTE_TOKENIZER_H_
