#include <gmock/gmock.h>

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/server_fixture.h"

namespace longwave {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::HasSubstr;

class EncodeStreamTest : public ServerTest {
 protected:
  static v1::EncodeStreamRequest PerToken(const std::vector<std::string>& texts) {
    v1::EncodeStreamRequest request = StreamTexts(texts);
    request.mutable_options()->mutable_pooling()->mutable_none();
    return request;
  }

  std::vector<v1::EncodeStreamResponse> MustStream(const v1::EncodeStreamRequest& request) {
    grpc::Status status;
    std::vector<v1::EncodeStreamResponse> chunks = Stream(request, &status);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return chunks;
  }

  // Puts the chunks of each input together, checking what the proto promises of them.
  static std::map<int, std::vector<float>> Reassemble(
      const std::vector<v1::EncodeStreamResponse>& chunks) {
    std::map<int, std::vector<float>> values;
    std::map<int, int64_t> rows;
    std::map<int, bool> closed;
    for (const v1::EncodeStreamResponse& chunk : chunks) {
      const int index = chunk.input_index();
      EXPECT_FALSE(closed[index]) << "a chunk after the last of input " << index;
      EXPECT_EQ(chunk.status().code(), 0);
      EXPECT_EQ(chunk.row_offset(), rows[index]);
      EXPECT_EQ(chunk.rows().shape_size(), 2);
      rows[index] += chunk.rows().shape(0);
      EXPECT_EQ(chunk.last(), rows[index] == chunk.total_rows());
      EXPECT_EQ(chunk.has_usage(), chunk.last());
      EXPECT_EQ(chunk.has_timing(), chunk.last());
      EXPECT_EQ(chunk.has_model(), chunk.last());
      closed[index] = chunk.last();
      for (const float value : Floats(chunk.rows())) values[index].push_back(value);
    }
    for (const auto& [index, is_closed] : closed) EXPECT_TRUE(is_closed) << index;
    return values;
  }

  static std::vector<float> AllRows(const std::string& text) {
    const std::vector<int32_t> ids = Ids(text);
    std::vector<float> rows;
    for (size_t row = 0; row < ids.size(); ++row) {
      for (const float value : FakeModel::Row(ids, static_cast<int64_t>(row))) {
        rows.push_back(value);
      }
    }
    return rows;
  }
};

TEST_F(EncodeStreamTest, PooledEmbeddingsComeAsOneChunkEach) {
  StartServer();
  const auto chunks = MustStream(StreamTexts({"one", "two"}));
  ASSERT_EQ(chunks.size(), 2u);
  const auto values = Reassemble(chunks);
  EXPECT_THAT(values.at(0), ElementsAreArray(FakeModel::Row(Ids("one"), 0)));
  EXPECT_THAT(values.at(1), ElementsAreArray(FakeModel::Row(Ids("two"), 0)));
  EXPECT_EQ(chunks[0].model().name(), "fake");
  EXPECT_EQ(chunks[0].usage().tokens(), 5);
  EXPECT_EQ(chunks[0].usage().inputs(), 1);
  EXPECT_GT(chunks[0].timing().total_ns(), 0);
}

TEST_F(EncodeStreamTest, ChunksOfWholeRowsPutTogetherGiveTheEmbedding) {
  StartServer();
  // 256 bytes a row: a chunk of 4,097 bytes takes 16 rows.
  v1::EncodeStreamRequest request = PerToken({std::string(90, 'k'), "z", std::string(33, 'y')});
  request.set_max_chunk_bytes(4097);
  const auto chunks = MustStream(request);
  EXPECT_EQ(chunks.size(), 6u + 1u + 3u);  // 92, 3 and 35 rows
  for (const auto& chunk : chunks) EXPECT_LE(chunk.rows().data().size(), 4097u);
  const auto values = Reassemble(chunks);
  EXPECT_THAT(values.at(0), ElementsAreArray(AllRows(std::string(90, 'k'))));
  EXPECT_THAT(values.at(1), ElementsAreArray(AllRows("z")));
  EXPECT_THAT(values.at(2), ElementsAreArray(AllRows(std::string(33, 'y'))));
}

TEST_F(EncodeStreamTest, OneBadInputLeavesItsNeighboursAlone) {
  StartServer();
  const auto chunks = MustStream(PerToken({"good", "", "fine", "\xff"}));
  std::vector<v1::EncodeStreamResponse> good;
  std::vector<int> bad;
  for (const v1::EncodeStreamResponse& chunk : chunks) {
    if (chunk.status().code() == 0) {
      good.push_back(chunk);
      continue;
    }
    EXPECT_EQ(chunk.status().code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_TRUE(chunk.last());
    EXPECT_FALSE(chunk.has_rows());
    bad.push_back(chunk.input_index());
  }
  EXPECT_THAT(bad, ::testing::UnorderedElementsAre(1, 3));
  const auto values = Reassemble(good);
  EXPECT_THAT(values.at(0), ElementsAreArray(AllRows("good")));
  EXPECT_THAT(values.at(2), ElementsAreArray(AllRows("fine")));
}

TEST_F(EncodeStreamTest, ServesWhatIsTooLargeForAUnaryResponse) {
  options_.limits.max_response_bytes = 10000;
  StartServer();
  const std::string text(90, 't');
  v1::EncodeRequest unary = EncodeTexts({text});
  unary.mutable_options()->mutable_pooling()->mutable_none();
  EXPECT_EQ(EncodeStatus(unary).error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_THAT(Reassemble(MustStream(PerToken({text, text}))).at(1),
              ElementsAreArray(AllRows(text)));
}

TEST_F(EncodeStreamTest, AWindowBoundsWhatIsInFlight) {
  options_.limits.max_response_bytes = 256 * 20;  // 20 rows
  StartServer();
  model().Hold();
  std::thread client([&] {
    const std::vector<std::string> texts(12, "12345678");  // 10 rows each
    EXPECT_EQ(Reassemble(MustStream(PerToken(texts))).size(), 12u);
  });
  model().AwaitHeldBatch();
  EXPECT_LE(Metric("longwave_queue_inputs{model=\"fake\"}"), 1);
  model().Release();
  client.join();
  EXPECT_EQ(model().items_run(), 12);
  EXPECT_THAT(model().batch_sizes(), Each(::testing::Le(2)));
}

TEST_F(EncodeStreamTest, TheLargestChunkIsAllowed) {
  StartServer();
  v1::EncodeStreamRequest request = PerToken({"a"});
  request.set_max_chunk_bytes(4128768);  // 4 MiB but 64 KiB: fits a client's default limit
  EXPECT_THAT(Reassemble(MustStream(request)).at(0), ElementsAreArray(AllRows("a")));
}

TEST_F(EncodeStreamTest, BadRequestsEndWithoutAChunk) {
  StartServer();
  grpc::Status status;
  v1::EncodeStreamRequest request = StreamTexts({"a"});
  for (const int64_t bytes : {int64_t{1}, int64_t{4095}, int64_t{4128769}, int64_t{-1}}) {
    request.set_max_chunk_bytes(bytes);
    EXPECT_TRUE(Stream(request, &status).empty());
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(std::to_string(bytes)));
  }
  request.set_max_chunk_bytes(0);
  request.mutable_model()->set_name("absent");
  EXPECT_TRUE(Stream(request, &status).empty());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(Stream(v1::EncodeStreamRequest(), &status).empty());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(model().items_run(), 0);
}

TEST_F(EncodeStreamTest, AFullQueueRefusesTheWholeStream) {
  options_.batching.max_queue_tokens = 10;
  StartServer();
  model().Hold();
  std::thread busy([&] { MustEncode(EncodeTexts({"busy"})); });
  model().AwaitHeldBatch();
  std::thread waiting([&] { MustEncode(EncodeTexts({"waiting"})); });
  AwaitMetric("longwave_queue_inputs{model=\"fake\"}", 1);
  grpc::Status status;
  EXPECT_TRUE(Stream(StreamTexts({"late"}), &status).empty());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  model().Release();
  busy.join();
  waiting.join();
}

TEST_F(EncodeStreamTest, AFullQueueFailsOnlyTheInputsThatMeetIt) {
  options_.batching.max_queue_tokens = 10;
  StartServer();
  model().Hold();
  std::thread busy([&] { MustEncode(EncodeTexts({"busy"})); });
  model().AwaitHeldBatch();
  grpc::ClientContext context;
  const auto reader = stub_->EncodeStream(&context, StreamTexts({"first", "second"}));
  v1::EncodeStreamResponse chunk;
  ASSERT_TRUE(reader->Read(&chunk));  // at once, while the first one waits
  EXPECT_EQ(chunk.input_index(), 1);
  EXPECT_EQ(chunk.status().code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(chunk.last());
  model().Release();
  ASSERT_TRUE(reader->Read(&chunk));
  EXPECT_EQ(chunk.input_index(), 0);
  EXPECT_EQ(chunk.status().code(), 0);
  EXPECT_FALSE(reader->Read(&chunk));
  EXPECT_TRUE(reader->Finish().ok());
  busy.join();
}

TEST_F(EncodeStreamTest, ACancelledStreamLeavesTheQueue) {
  StartServer();
  model().Hold();
  std::thread busy([&] { MustEncode(EncodeTexts({"busy"})); });
  model().AwaitHeldBatch();
  grpc::ClientContext context;
  const auto reader = stub_->EncodeStream(&context, StreamTexts({"a", "b", "c"}));
  AwaitMetric("longwave_queue_inputs{model=\"fake\"}", 3);
  context.TryCancel();
  v1::EncodeStreamResponse chunk;
  EXPECT_FALSE(reader->Read(&chunk));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  AwaitMetric("longwave_queue_inputs{model=\"fake\"}", 0);
  model().Release();
  busy.join();
  AwaitMetric("longwave_requests_in_flight", 0);
  EXPECT_EQ(model().items_run(), 1);
  EXPECT_EQ(
      Metric("longwave_requests_total{code=\"CANCELLED\",model=\"fake\",rpc=\"EncodeStream\"}"), 1);
  EXPECT_EQ(Metric("longwave_inputs_total{code=\"CANCELLED\",model=\"fake\"}"), 3);
}

TEST_F(EncodeStreamTest, ACancellationDuringComputeEndsTheCallAtOnce) {
  StartServer();
  model().Hold();
  grpc::ClientContext context;
  const auto reader = stub_->EncodeStream(&context, StreamTexts({"a", "b"}));
  model().AwaitHeldBatch();
  context.TryCancel();
  v1::EncodeStreamResponse chunk;
  EXPECT_FALSE(reader->Read(&chunk));
  AwaitMetric("longwave_requests_in_flight", 0);  // while the batch is still being computed
  model().Release();
  EXPECT_EQ(MustStream(StreamTexts({"next"})).size(), 1u);
}

}  // namespace
}  // namespace longwave
