// write_sentencepiece_model FOLDER TEXT: writes a small SentencePiece model folder and prints the
// ids of TEXT, as this program sees them: it is not linked to gRPC, whose protobuf clashes with
// SentencePiece's.

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <random>
#include <string>

#include "model/tokenizer/factory.h"
#include "tests/support/files.h"
#include "tests/support/random_model.h"
#include "tests/tokenizer/train_sentencepiece.h"

int main(int argc, char** argv) {
  using namespace longwave;  // NOLINT: a program of one function
  if (argc != 3) return EXIT_FAILURE;
  const std::string folder = argv[1];
  std::filesystem::create_directories(folder);
  const std::string words[] = {"attention", "linear", "relative", "position",
                               "encoder",   "kernel", "sequence", "token"};
  std::mt19937 random(11);
  std::string text;
  for (int i = 0; i < 2400; ++i) text += words[random() % 8] + (i % 8 == 7 ? "\n" : " ");
  testing::WriteFile(folder, "text", text);
  testing::WriteFile(folder, "pieces.model", testing::TrainSentencePiece(folder + "/text", 320));

  ModelConfig config = testing::SmallModelConfig();
  config.vocab_size = 400;
  config.tokenizer = {TokenizerType::kSentencePiece, "pieces.model", {398}, {399}};
  testing::WriteRandomModel(folder, config, /*seed=*/6);

  const auto tokenizer = CreateTokenizer(folder, config);
  if (!tokenizer.ok()) {
    std::cerr << tokenizer.status() << "\n";
    return EXIT_FAILURE;
  }
  const auto sequence = (*tokenizer)->EncodeText(argv[2], config.max_length, Overflow::kError);
  if (!sequence.ok()) {
    std::cerr << sequence.status() << "\n";
    return EXIT_FAILURE;
  }
  for (const int32_t id : sequence->ids) std::cout << id << "\n";
}
