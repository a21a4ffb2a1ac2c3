#ifndef LONGWAVE_MODEL_TOKENIZER_TOKENIZER_H_
#define LONGWAVE_MODEL_TOKENIZER_TOKENIZER_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace longwave {

// What to do with a sequence that is longer than `max_tokens`.
enum class Overflow {
  kError,        // OUT_OF_RANGE, naming the length found and the limit
  kTruncateEnd,  // drop content tokens from the end; special tokens are kept
};

// A token sequence ready for a model, special tokens included.
struct TokenSequence {
  std::vector<int32_t> ids;    // 1 to max_tokens ids, each in [0, vocab_size)
  int64_t tokens_dropped = 0;  // by kTruncateEnd; 0 otherwise
};

// Turns documents into token ids. Immutable and thread-safe after construction; never blocks.
//
// Errors of all three functions: INVALID_ARGUMENT for content that can never work (empty, invalid
// UTF-8, an id outside the vocabulary, a kind of input that this tokenizer does not take);
// OUT_OF_RANGE when longer than `max_tokens` under kError. Work and memory are bounded by the
// input's size.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Text in valid UTF-8, at least one byte. Adds special tokens.
  virtual absl::StatusOr<TokenSequence> EncodeText(absl::string_view utf8, int64_t max_tokens,
                                                   Overflow overflow) const = 0;

  // Raw bytes of any content, at least one. Adds special tokens. Only byte-level tokenizers take
  // them.
  virtual absl::StatusOr<TokenSequence> EncodeBytes(absl::string_view bytes, int64_t max_tokens,
                                                    Overflow overflow) const = 0;

  // Token ids as they are, at least one; no special tokens are added. The same for every tokenizer.
  absl::StatusOr<TokenSequence> EncodeIds(absl::Span<const uint32_t> ids, int64_t max_tokens,
                                          Overflow overflow) const;

  // "byte", "ids" or "sentencepiece": the name in config.json.
  virtual absl::string_view kind() const = 0;

  // Number of ids that the model's embedding table has.
  virtual int64_t vocab_size() const = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_TOKENIZER_TOKENIZER_H_
