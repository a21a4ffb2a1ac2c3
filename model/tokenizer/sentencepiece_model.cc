#include "model/tokenizer/sentencepiece_model.h"

#include <sentencepiece_processor.h>

#include <string_view>

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

std::unique_ptr<SentencePieceModel> SentencePieceModel::Load(const std::string& serialized,
                                                             std::string* error) {
  auto model = std::make_unique<LibraryModel>();
  if (!model->Parse(serialized, error)) return nullptr;
  return model;
}

}  // namespace longwave
