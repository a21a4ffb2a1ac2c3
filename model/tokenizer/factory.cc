#include "model/tokenizer/factory.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/folder_file.h"
#include "model/tokenizer/byte_tokenizer.h"
#include "model/tokenizer/ids_tokenizer.h"
#include "model/tokenizer/sentencepiece_model.h"
#include "model/tokenizer/sentencepiece_tokenizer.h"

namespace longwave {
namespace {

// Models with a vocabulary of a million pieces stay below it.
constexpr int64_t kMaxSentencePieceBytes = int64_t{64} << 20;

absl::StatusOr<std::unique_ptr<const Tokenizer>> CreateSentencePiece(const std::string& folder,
                                                                     const ModelConfig& config) {
  const TokenizerConfig& tokenizer = config.tokenizer;
  const absl::StatusOr<std::string> content =
      ReadFolderFile(folder, tokenizer.file, kMaxSentencePieceBytes);
  if (!content.ok()) return content.status();
  const std::string path = FolderFilePath(folder, tokenizer.file);
  std::string error;
  std::unique_ptr<SentencePieceModel> model = SentencePieceModel::Load(*content, &error);
  if (model == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": cannot be loaded as a SentencePiece model: ", error));
  }
  if (model->vocab_size() > config.vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": found ", model->vocab_size(),
                     " pieces, expected at most vocab_size, which is ", config.vocab_size));
  }
  return std::make_unique<SentencePieceTokenizer>(std::move(model), config.vocab_size,
                                                  tokenizer.prefix_ids, tokenizer.suffix_ids);
}

}  // namespace

absl::StatusOr<std::unique_ptr<const Tokenizer>> CreateTokenizer(const std::string& folder,
                                                                 const ModelConfig& config) {
  switch (config.tokenizer.type) {
    case TokenizerType::kByte:
      return std::make_unique<ByteTokenizer>(config.vocab_size, config.tokenizer.prefix_ids,
                                             config.tokenizer.suffix_ids);
    case TokenizerType::kIds:
      return std::make_unique<IdsTokenizer>(config.vocab_size);
    case TokenizerType::kSentencePiece:
      return CreateSentencePiece(folder, config);
  }
  return absl::InternalError("tokenizer: unknown type");
}

}  // namespace longwave
