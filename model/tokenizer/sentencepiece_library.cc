// The whole of liblongwave_sentencepiece.so, the only part of the project that is linked to
// SentencePiece.

#include <sentencepiece_processor.h>

#include <string>
#include <string_view>
#include <vector>

#include "model/tokenizer/sentencepiece_model.h"

namespace longwave {
namespace {

class LibraryModel : public SentencePieceModel {
 public:
  bool Parse(const std::string& serialized, std::string* error) {
    const auto status = processor_.LoadFromSerializedProto(serialized);
    if (!status.ok()) *error = status.ToString();
    return status.ok();
  }

  int64_t vocab_size() const override { return processor_.GetPieceSize(); }

  bool Encode(const char* text, size_t size, std::vector<int>* ids,
              std::string* error) const override {
    const auto status = processor_.Encode(std::string_view(text, size), ids);
    if (!status.ok()) *error = status.ToString();
    return status.ok();
  }

 private:
  sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace
}  // namespace longwave

// SentencePieceModel::Load; the caller owns the result.
extern "C" __attribute__((visibility("default"))) longwave::SentencePieceModel*
longwave_sentencepiece_load(const std::string* serialized, std::string* error) {
  auto model = std::make_unique<longwave::LibraryModel>();
  return model->Parse(*serialized, error) ? model.release() : nullptr;
}
