#include "client/stream_assembler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace longwave::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

v1::EncodeStreamResponse Chunk(int input, int64_t offset, int64_t total,
                               const std::vector<float>& values, bool last) {
  v1::EncodeStreamResponse chunk;
  chunk.set_input_index(input);
  chunk.set_row_offset(offset);
  chunk.set_total_rows(total);
  chunk.mutable_rows()->set_type(v1::EMBEDDING_TYPE_FLOAT32);
  chunk.mutable_rows()->add_shape(static_cast<int64_t>(values.size()) / 2);
  chunk.mutable_rows()->add_shape(2);
  chunk.mutable_rows()->set_data(
      std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)));
  chunk.set_last(last);
  return chunk;
}

TEST(StreamAssemblerTest, JoinsInterleavedChunks) {
  StreamAssembler assembler(2);
  ASSERT_TRUE(assembler.Add(Chunk(1, 0, 3, {1, 2}, false)).ok());
  ASSERT_TRUE(assembler.Add(Chunk(0, 0, 1, {9, 8}, true)).ok());
  ASSERT_TRUE(assembler.Add(Chunk(1, 1, 3, {3, 4, 5, 6}, true)).ok());
  const auto reply = assembler.Finish();
  ASSERT_TRUE(reply.ok()) << reply.status();
  EXPECT_THAT(reply->results[0].values, ElementsAre(9, 8));
  EXPECT_THAT(reply->results[1].values, ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_EQ(reply->results[1].rows, 3);
  EXPECT_EQ(reply->results[1].cols, 2);
}

TEST(StreamAssemblerTest, RefusesWhatBreaksTheProtocol) {
  const auto error = [](const v1::EncodeStreamResponse& chunk) {
    StreamAssembler assembler(1);
    EXPECT_TRUE(assembler.Add(Chunk(0, 0, 3, {1, 2}, false)).ok());
    const absl::Status status = assembler.Add(chunk);
    EXPECT_EQ(status.code(), absl::StatusCode::kInternal) << status;
    return std::string(status.message());
  };
  EXPECT_THAT(error(Chunk(1, 0, 1, {1, 2}, true)), HasSubstr("input 1 of 1"));
  EXPECT_THAT(error(Chunk(-1, 0, 1, {1, 2}, true)), HasSubstr("input -1"));
  EXPECT_THAT(error(Chunk(0, 2, 3, {1, 2}, true)), HasSubstr("row 2, expected 1"));
  EXPECT_THAT(error(Chunk(0, 1, 3, {1, 2}, true)), HasSubstr("2 rows came, expected 3"));
  v1::EncodeStreamResponse short_data = Chunk(0, 1, 2, {1, 2}, true);
  short_data.mutable_rows()->mutable_data()->pop_back();
  EXPECT_THAT(error(short_data), HasSubstr("malformed"));
}

TEST(StreamAssemblerTest, AnInputIsClosedOnce) {
  StreamAssembler assembler(1);
  ASSERT_TRUE(assembler.Add(Chunk(0, 0, 1, {1, 2}, true)).ok());
  EXPECT_EQ(assembler.Add(Chunk(0, 1, 2, {1, 2}, true)).code(), absl::StatusCode::kInternal);
}

TEST(StreamAssemblerTest, AnIncompleteInputIsAnError) {
  StreamAssembler assembler(2);
  ASSERT_TRUE(assembler.Add(Chunk(0, 0, 1, {1, 2}, true)).ok());
  const auto reply = assembler.Finish();
  EXPECT_THAT(std::string(reply.status().message()), HasSubstr("1 of 2 inputs incomplete"));
}

}  // namespace
}  // namespace longwave::client
