#include "model/tokenizer/sentencepiece_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "model/tokenizer/factory.h"
#include "tests/support/files.h"
#include "tests/support/random_model.h"
#include "tests/tokenizer/train_sentencepiece.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;

constexpr char kFile[] = "pieces.model";
constexpr int64_t kPlenty = 1000;

// One small model, trained once for all tests on sentences over a few words.
class SentencePieceTokenizerTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = std::make_unique<testing::TempFolder>();
    const std::vector<std::string> words = {"attention", "linear", "relative", "position",
                                            "encoder",   "kernel", "sequence", "token"};
    std::mt19937 generator(3);
    std::string text;
    for (int i = 0; i < 300; ++i) {
      for (int j = 0; j < 8; ++j) text += words[generator() % words.size()] + " ";
      text += "\n";
    }
    testing::WriteFile(folder_->path(), "text", text);
    testing::WriteFile(folder_->path(), kFile,
                       testing::TrainSentencePiece(folder_->path() + "/text", 320));
  }
  static void TearDownTestSuite() { folder_.reset(); }

  static ModelConfig Config() {
    ModelConfig config = testing::SmallModelConfig();
    config.vocab_size = 400;
    config.tokenizer = {TokenizerType::kSentencePiece, kFile, {398}, {399}};
    return config;
  }

  static std::unique_ptr<const Tokenizer> Create() {
    auto tokenizer = CreateTokenizer(folder_->path(), Config());
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    return *std::move(tokenizer);
  }

  static std::unique_ptr<testing::TempFolder> folder_;
};

std::unique_ptr<testing::TempFolder> SentencePieceTokenizerTest::folder_;

TEST_F(SentencePieceTokenizerTest, MakesFewPiecesOfKnownWords) {
  const auto tokenizer = Create();
  EXPECT_EQ(tokenizer->kind(), "sentencepiece");
  const std::string text = "linear attention encoder";
  const absl::StatusOr<TokenSequence> sequence =
      tokenizer->EncodeText(text, kPlenty, Overflow::kError);
  ASSERT_TRUE(sequence.ok()) << sequence.status();
  EXPECT_EQ(sequence->ids.front(), 398);
  EXPECT_EQ(sequence->ids.back(), 399);
  EXPECT_GE(sequence->ids.size(), 2 + 3);
  EXPECT_LT(sequence->ids.size(), text.size() / 2);
  for (const int32_t id : sequence->ids) EXPECT_TRUE(0 <= id && id < 400) << id;
}

TEST_F(SentencePieceTokenizerTest, UnknownCharactersBecomeBytes) {
  const auto tokenizer = Create();
  const auto known = tokenizer->EncodeText("token", kPlenty, Overflow::kError);
  const auto other = tokenizer->EncodeText("token \xe2\x82\xac", kPlenty, Overflow::kError);
  ASSERT_TRUE(known.ok() && other.ok());
  EXPECT_GE(other->ids.size(), known->ids.size() + 3);
}

TEST_F(SentencePieceTokenizerTest, TruncatesThePiecesOnly) {
  const auto tokenizer = Create();
  const std::string text = "linear attention encoder kernel";
  const auto whole = tokenizer->EncodeText(text, kPlenty, Overflow::kError);
  ASSERT_TRUE(whole.ok());
  const auto all = static_cast<int64_t>(whole->ids.size());
  EXPECT_EQ(tokenizer->EncodeText(text, all - 1, Overflow::kError).status().code(),
            absl::StatusCode::kOutOfRange);
  const auto cut = tokenizer->EncodeText(text, all - 2, Overflow::kTruncateEnd);
  ASSERT_TRUE(cut.ok());
  EXPECT_EQ(cut->tokens_dropped, 2);
  std::vector<int32_t> expected(whole->ids.begin(), whole->ids.end() - 3);
  expected.push_back(399);
  EXPECT_EQ(cut->ids, expected);
}

TEST_F(SentencePieceTokenizerTest, RefusesBytesEmptyAndInvalidText) {
  const auto tokenizer = Create();
  for (const absl::Status& status :
       {tokenizer->EncodeBytes("a", kPlenty, Overflow::kError).status(),
        tokenizer->EncodeText("", kPlenty, Overflow::kError).status(),
        tokenizer->EncodeText("a\xc3", kPlenty, Overflow::kError).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(SentencePieceTokenizerTest, RefusesTextWithoutAnyToken) {
  ModelConfig config = Config();
  config.tokenizer.prefix_ids = {};
  config.tokenizer.suffix_ids = {};
  const auto tokenizer = CreateTokenizer(folder_->path(), config);
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  EXPECT_EQ((*tokenizer)->EncodeText("   ", kPlenty, Overflow::kError).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(SentencePieceTokenizerTest, RefusesMorePiecesThanTheModelHas) {
  ModelConfig config = Config();
  config.vocab_size = 100;
  config.tokenizer.prefix_ids = config.tokenizer.suffix_ids = {};
  const absl::Status status = CreateTokenizer(folder_->path(), config).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("pieces, expected at most vocab_size, which is 100"));
}

TEST_F(SentencePieceTokenizerTest, RefusesAFileThatIsNoModel) {
  const testing::TempFolder folder;
  EXPECT_EQ(CreateTokenizer(folder.path(), Config()).status().code(), absl::StatusCode::kNotFound);
  const std::string whole = testing::ReadFile(folder_->path(), kFile);
  for (const std::string& content :
       {std::string(), std::string("not a model"), whole.substr(0, whole.size() - 1)}) {
    testing::WriteFile(folder.path(), kFile, content);
    const absl::Status status = CreateTokenizer(folder.path(), Config()).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("pieces.model: cannot be loaded as a SentencePiece model"));
  }
}

}  // namespace
}  // namespace longwave
