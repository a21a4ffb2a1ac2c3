// Requests of a server that keeps results.

#include <gtest/gtest.h>

#include <future>
#include <string>
#include <vector>

#include "tests/server/server_fixture.h"

namespace longwave {
namespace {

constexpr char kHits[] = "longwave_result_cache_hits_total{model=\"fake\"}";
constexpr char kMisses[] = "longwave_result_cache_misses_total{model=\"fake\"}";
constexpr char kBytes[] = "longwave_result_cache_bytes";

class CachedResultsTest : public ServerTest {
 protected:
  CachedResultsTest() { options_.result_cache_bytes = 1 << 20; }
};

TEST_F(CachedResultsTest, AnEqualInputIsNotComputedAgain) {
  StartServer();
  const v1::EncodeResponse first = MustEncode(EncodeTexts({"one", "two"}));
  EXPECT_EQ(model().items_run(), 2);
  v1::EncodeResponse second = MustEncode(EncodeTexts({"two", "three", "one"}));
  EXPECT_EQ(model().items_run(), 3);
  ASSERT_EQ(second.results_size(), 3);
  EXPECT_EQ(Floats(second.results(0).embedding()), FakeModel::Row(Ids("two"), 0));
  EXPECT_EQ(Floats(second.results(1).embedding()), FakeModel::Row(Ids("three"), 0));
  EXPECT_EQ(second.results(2).SerializeAsString(), first.results(0).SerializeAsString());
  EXPECT_EQ(second.usage().tokens(), 5 + 7 + 5);  // known results count as served
  EXPECT_EQ(Metric(kHits), 2);
  EXPECT_EQ(Metric(kMisses), 3);
  EXPECT_EQ(Metric(kBytes), 3 * (256 + 4 * FakeModel::kHiddenSize));
}

TEST_F(CachedResultsTest, AKnownRequestPassesAQueueThatIsHeldUp) {
  StartServer();
  MustEncode(EncodeTexts({"known"}));
  model().Hold();
  std::future<grpc::Status> held =
      std::async(std::launch::async, [this] { return EncodeStatus(EncodeTexts({"new"})); });
  model().AwaitHeldBatch();
  EXPECT_EQ(MustEncode(EncodeTexts({"known"})).usage().inputs(), 1);
  model().Release();
  EXPECT_TRUE(held.get().ok());
}

TEST_F(CachedResultsTest, StreamsShareTheResults) {
  StartServer();
  MustEncode(EncodeTexts({"one", "two"}));
  grpc::Status status;
  const std::vector<v1::EncodeStreamResponse> chunks =
      Stream(StreamTexts({"two", "three", "one"}), &status);
  ASSERT_TRUE(status.ok()) << status.error_message();
  ASSERT_EQ(chunks.size(), 3u);
  const std::vector<std::string> texts = {"two", "three", "one"};
  for (const v1::EncodeStreamResponse& chunk : chunks) {
    EXPECT_EQ(Floats(chunk.rows()), FakeModel::Row(Ids(texts[chunk.input_index()]), 0));
  }
  EXPECT_EQ(model().items_run(), 3);
  EXPECT_EQ(Metric(kHits), 2);
}

TEST_F(CachedResultsTest, OptionsAndTasksAreKeptApart) {
  StartServer();
  v1::EncodeRequest encode = EncodeTexts({"one"});
  MustEncode(encode);
  encode.mutable_options()->set_normalize(true);
  MustEncode(encode);
  v1::ClassifyRequest classify = ClassifyTexts({"one"});
  classify.set_head("kind");
  MustClassify(classify);
  classify.set_head("size");
  MustClassify(classify);
  EXPECT_EQ(model().items_run(), 4);
  classify.set_top_k(1);  // of the same probabilities
  EXPECT_EQ(MustClassify(classify).results(0).labels_size(), 1);
  encode.mutable_options()->mutable_format()->set_type(v1::EMBEDDING_TYPE_FLOAT16);
  MustEncode(encode);
  EXPECT_EQ(model().items_run(), 4);
}

TEST_F(CachedResultsTest, FailuresAreNotKept) {
  StartServer();
  model().set_fault([](const RunItem&) { return absl::InternalError("broken"); });
  EXPECT_EQ(MustEncode(EncodeTexts({"one"})).results(0).status().code(),
            static_cast<int>(absl::StatusCode::kInternal));
  model().set_fault(nullptr);
  EXPECT_EQ(MustEncode(EncodeTexts({"one"})).results(0).status().code(), 0);
  EXPECT_EQ(Metric(kHits), 0);
  EXPECT_EQ(Metric(kMisses), 2);
}

TEST_F(CachedResultsTest, ThereIsNoneByDefault) {
  options_ = Server::Options();
  options_.model_repository = repository_.path();
  options_.listen = "127.0.0.1:0";
  options_.metrics_listen = "";
  StartServer();
  MustEncode(EncodeTexts({"one"}));
  MustEncode(EncodeTexts({"one"}));
  EXPECT_EQ(model().items_run(), 2);
  EXPECT_EQ(Metric(kHits), 0);
  EXPECT_EQ(Metric(kMisses), 0);
}

}  // namespace
}  // namespace longwave
