#ifndef LONGWAVE_MODEL_TOKENIZER_SENTENCEPIECE_MODEL_H_
#define LONGWAVE_MODEL_TOKENIZER_SENTENCEPIECE_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace longwave {

// A thin wall around the SentencePiece library, whose header declares an absl::string_view that
// clashes with Abseil's: no source may see both, so this interface speaks std only. Immutable and
// thread-safe.
class SentencePieceModel {
 public:
  // Reads a serialised model. Null, and `error` says why, when it is not one, or when
  // liblongwave_sentencepiece.so is not there.
  static std::unique_ptr<SentencePieceModel> Load(const std::string& serialized,
                                                  std::string* error);

  virtual ~SentencePieceModel() = default;

  // Ids are in [0, vocab_size).
  virtual int64_t vocab_size() const = 0;

  // Replaces `ids` with those of the text, which is valid UTF-8; no special tokens. False, and
  // `error` says why, on failure.
  virtual bool Encode(const char* text, size_t size, std::vector<int>* ids,
                      std::string* error) const = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_TOKENIZER_SENTENCEPIECE_MODEL_H_
