#include "tests/tokenizer/train_sentencepiece.h"

#include <sentencepiece_trainer.h>

#include <stdexcept>
#include <unordered_map>

namespace longwave::testing {

std::string TrainSentencePiece(const std::string& text_file, int vocab_size) {
  const std::unordered_map<std::string, std::string> options = {
      {"input", text_file},      {"vocab_size", std::to_string(vocab_size)},
      {"byte_fallback", "true"}, {"hard_vocab_limit", "false"},
      {"num_threads", "1"},      {"minloglevel", "2"}};
  std::string model;
  const auto status =
      sentencepiece::SentencePieceTrainer::Train(options, /*sentence_iterator=*/nullptr, &model);
  if (!status.ok()) throw std::runtime_error(status.ToString());
  return model;
}

}  // namespace longwave::testing
