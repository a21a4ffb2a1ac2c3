#include "model/tokenizer/byte_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "model/tokenizer/factory.h"
#include "model/tokenizer/ids_tokenizer.h"
#include "tests/support/random_model.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr int64_t kPlenty = 1000;

TEST(ByteTokenizerTest, PutsBytesBetweenPrefixAndSuffix) {
  const ByteTokenizer tokenizer(260, {256, 257}, {258});
  const absl::StatusOr<TokenSequence> bytes =
      tokenizer.EncodeBytes(std::string("\0\xff\x80z", 4), kPlenty, Overflow::kError);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_THAT(bytes->ids, ElementsAre(256, 257, 0, 255, 128, 'z', 258));
  EXPECT_EQ(bytes->tokens_dropped, 0);
  EXPECT_THAT(tokenizer.EncodeText("\xc3\xa9", kPlenty, Overflow::kError)->ids,
              ElementsAre(256, 257, 0xc3, 0xa9, 258));
}

TEST(ByteTokenizerTest, RefusesEmptyAndInvalidText) {
  const ByteTokenizer tokenizer(256, {}, {});
  for (const absl::Status& status :
       {tokenizer.EncodeText("", kPlenty, Overflow::kError).status(),
        tokenizer.EncodeBytes("", kPlenty, Overflow::kError).status(),
        tokenizer.EncodeText("a\xff", kPlenty, Overflow::kTruncateEnd).status()}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  }
  EXPECT_TRUE(tokenizer.EncodeBytes("a\xff", kPlenty, Overflow::kError).ok());
}

TEST(ByteTokenizerTest, TheLimitCountsSpecialTokens) {
  const ByteTokenizer tokenizer(260, {256}, {257});
  EXPECT_EQ(tokenizer.EncodeBytes("abc", 5, Overflow::kError)->ids.size(), 5);
  const absl::Status status = tokenizer.EncodeBytes("abcd", 5, Overflow::kError).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), HasSubstr("found 6 tokens, expected at most 5"));
}

TEST(ByteTokenizerTest, TruncatesTheEndAndKeepsSpecialTokens) {
  const ByteTokenizer tokenizer(260, {256}, {257});
  const absl::StatusOr<TokenSequence> cut =
      tokenizer.EncodeBytes("abcdef", 5, Overflow::kTruncateEnd);
  ASSERT_TRUE(cut.ok()) << cut.status();
  EXPECT_THAT(cut->ids, ElementsAre(256, 'a', 'b', 'c', 257));
  EXPECT_EQ(cut->tokens_dropped, 3);
  EXPECT_EQ(tokenizer.EncodeBytes("ab", 2, Overflow::kTruncateEnd).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(IdsTokenizerTest, TakesIdsOnly) {
  const IdsTokenizer tokenizer(10);
  EXPECT_EQ(tokenizer.EncodeText("a", kPlenty, Overflow::kError).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(tokenizer.EncodeBytes("a", kPlenty, Overflow::kError).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(tokenizer.EncodeIds({0, 9, 5}, kPlenty, Overflow::kError)->ids, ElementsAre(0, 9, 5));
}

TEST(IdsTokenizerTest, ChecksIdsAndLength) {
  const IdsTokenizer tokenizer(10);
  EXPECT_EQ(tokenizer.EncodeIds({}, kPlenty, Overflow::kError).status().code(),
            absl::StatusCode::kInvalidArgument);
  const absl::Status range = tokenizer.EncodeIds({3, 10}, kPlenty, Overflow::kError).status();
  EXPECT_EQ(range.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(range.message()),
              HasSubstr("token ids[1]: found 10, expected at most 9"));
  EXPECT_EQ(tokenizer.EncodeIds({0xffffffffu}, kPlenty, Overflow::kError).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(tokenizer.EncodeIds({1, 2, 3}, 2, Overflow::kError).status().code(),
            absl::StatusCode::kOutOfRange);
  const absl::StatusOr<TokenSequence> cut =
      tokenizer.EncodeIds({1, 2, 3}, 2, Overflow::kTruncateEnd);
  EXPECT_THAT(cut->ids, ElementsAre(1, 2));
  EXPECT_EQ(cut->tokens_dropped, 1);
  // Truncation does not make an invalid input valid.
  EXPECT_EQ(tokenizer.EncodeIds({1, 2, 10}, 2, Overflow::kTruncateEnd).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(TokenizerFactoryTest, MakesWhatTheConfigNames) {
  ModelConfig config = testing::SmallModelConfig();
  const auto byte = CreateTokenizer("unused", config);
  ASSERT_TRUE(byte.ok()) << byte.status();
  EXPECT_EQ((*byte)->kind(), "byte");
  EXPECT_EQ((*byte)->vocab_size(), config.vocab_size);
  EXPECT_THAT((*byte)->EncodeText("a", kPlenty, Overflow::kError)->ids, ElementsAre(256, 'a'));
  config.tokenizer = {};
  config.tokenizer.type = TokenizerType::kIds;
  const auto ids = CreateTokenizer("unused", config);
  ASSERT_TRUE(ids.ok()) << ids.status();
  EXPECT_EQ((*ids)->kind(), "ids");
}

}  // namespace
}  // namespace longwave
