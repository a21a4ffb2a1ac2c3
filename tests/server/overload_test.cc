// What clients see of a server that has more work than it can do.
#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <utility>
#include <vector>

#include "server/rpc/caller.h"
#include "tests/server/server_fixture.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class OverloadTest : public ServerTest {
 protected:
  // Sends a text with metadata, without waiting for the answer.
  std::future<grpc::Status> Send(const std::string& text,
                                 std::vector<std::pair<std::string, std::string>> metadata = {}) {
    return std::async(std::launch::async, [this, text, metadata] {
      grpc::ClientContext context;
      for (const auto& [key, value] : metadata) context.AddMetadata(key, value);
      v1::EncodeResponse response;
      return stub_->Encode(&context, EncodeTexts({text}), &response);
    });
  }

  static void ExpectRetryInfo(const grpc::Status& status) {
    google::rpc::Status details;
    ASSERT_TRUE(details.ParseFromString(status.error_details()));
    EXPECT_EQ(details.code(), grpc::RESOURCE_EXHAUSTED);
    EXPECT_EQ(details.message(), status.error_message());
    ASSERT_EQ(details.details_size(), 1);
    google::rpc::RetryInfo retry;
    ASSERT_TRUE(details.details(0).UnpackTo(&retry));
    EXPECT_GT(retry.retry_delay().seconds() + retry.retry_delay().nanos(), 0);
    EXPECT_THAT(status.error_message(), HasSubstr("; try again in "));
  }

  // Lengths of the next batch, which then ends.
  std::vector<int64_t> NextBatch() {
    std::vector<int64_t> lengths = model().AwaitHeldBatch();
    model().ReleaseBatch();
    return lengths;
  }
};

TEST_F(OverloadTest, AFullQueueSaysWhenToComeAgain) {
  options_.batching.max_queue_tokens = 100;
  StartServer();
  model().Hold();
  auto busy = Send("busy");
  model().AwaitHeldBatch();
  auto waiting = Send(std::string(70, 'w'));
  AwaitMetric("longwave_queue_tokens{model=\"fake\"}", 72);
  const grpc::Status status = Send(std::string(40, 'x')).get();
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  ExpectRetryInfo(status);
  EXPECT_EQ(Metric("longwave_refusals_total{model=\"fake\",reason=\"queue_full\"}"), 1);
  model().Release();
  EXPECT_TRUE(busy.get().ok());
  EXPECT_TRUE(waiting.get().ok());
}

TEST_F(OverloadTest, SoDoMessagesThatFillTheServer) {
  options_.max_message_bytes = 100;
  options_.max_in_flight_bytes = 100;
  StartServer();
  model().Hold();
  auto busy = Send(std::string(80, 'b'));
  model().AwaitHeldBatch();
  const grpc::Status status = Send(std::string(20, 'x')).get();
  EXPECT_EQ(status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("the server is full"));
  ExpectRetryInfo(status);
  model().Release();
  EXPECT_TRUE(busy.get().ok());
}

TEST_F(OverloadTest, ClientsAreServedInTurnByTheirKeys) {
  options_.batching.max_batch_items = 1;
  StartServer();
  model().Hold();
  std::vector<std::future<grpc::Status>> answers;
  answers.push_back(Send("x"));
  model().AwaitHeldBatch();
  for (int i = 0; i < 4; ++i) {
    answers.push_back(Send(std::string(20, 'f'), {{kApiKeyMetadata, "flooder"}}));
  }
  AwaitMetric("longwave_queue_inputs{model=\"fake\"}", 4);
  answers.push_back(Send(std::string(10, 'o'), {{kApiKeyMetadata, "other"}}));
  AwaitMetric("longwave_queue_inputs{model=\"fake\"}", 5);
  EXPECT_THAT(NextBatch(), ElementsAre(3));
  EXPECT_THAT(NextBatch(), ElementsAre(12));
  for (int i = 0; i < 4; ++i) EXPECT_THAT(NextBatch(), ElementsAre(22));
  model().Release();
  for (std::future<grpc::Status>& answer : answers) EXPECT_TRUE(answer.get().ok());
}

TEST_F(OverloadTest, ClientsShareTheDeviceByTheirWeights) {
  options_.batching.max_batch_items = 1;
  options_.weights = *ClientWeights::Parse(
      R"({"default_weight": 1, "clients": [{"api_key": "heavy", "weight": 3}]})");
  StartServer();
  model().Hold();
  std::vector<std::future<grpc::Status>> answers;
  answers.push_back(Send("x"));
  model().AwaitHeldBatch();
  for (int i = 0; i < 6; ++i) {
    answers.push_back(Send(std::string(20, 'h'), {{kApiKeyMetadata, "heavy"}}));
    answers.push_back(Send(std::string(21, 'l'), {{kApiKeyMetadata, "light"}}));
  }
  AwaitMetric("longwave_queue_inputs{model=\"fake\"}", 12);
  EXPECT_THAT(NextBatch(), ElementsAre(3));
  int heavy = 0;
  for (int i = 0; i < 8; ++i) heavy += NextBatch()[0] == 22;
  EXPECT_EQ(heavy, 6);
  model().Release();
  for (std::future<grpc::Status>& answer : answers) EXPECT_TRUE(answer.get().ok());
}

TEST_F(OverloadTest, InventedKeysAreNoMoreClientsWhereAFileNamesThem) {
  options_.batching.max_batch_items = 1;
  options_.weights = *ClientWeights::Parse(R"({"clients": [{"api_key": "other", "weight": 1}]})");
  StartServer();
  model().Hold();
  std::vector<std::future<grpc::Status>> answers;
  answers.push_back(Send("x"));
  model().AwaitHeldBatch();
  for (int i = 0; i < 4; ++i) {
    answers.push_back(
        Send(std::string(20, 'f'), {{kApiKeyMetadata, "invented" + std::to_string(i)}}));
  }
  for (int i = 0; i < 2; ++i) {
    answers.push_back(Send(std::string(10, 'o'), {{kApiKeyMetadata, "other"}}));
  }
  AwaitMetric("longwave_queue_inputs{model=\"fake\"}", 6);
  EXPECT_THAT(NextBatch(), ElementsAre(3));
  int other = 0;  // of four, half; a fifth's share of five clients would be one
  for (int i = 0; i < 4; ++i) other += NextBatch()[0] == 12;
  EXPECT_EQ(other, 2);
  for (int i = 0; i < 2; ++i) EXPECT_THAT(NextBatch(), ElementsAre(22));
  model().Release();
  for (std::future<grpc::Status>& answer : answers) EXPECT_TRUE(answer.get().ok());
}

TEST_F(OverloadTest, PrioritiesOrderAClientsRequests) {
  options_.batching.max_batch_items = 1;
  StartServer();
  model().Hold();
  std::vector<std::future<grpc::Status>> answers;
  answers.push_back(Send("x"));
  model().AwaitHeldBatch();
  int queued = 0;
  for (const char* priority : {"low", "normal", "high"}) {
    answers.push_back(Send(std::string(10 + queued, 'p'), {{kPriorityMetadata, priority}}));
    AwaitMetric("longwave_queue_inputs{model=\"fake\"}", ++queued);
  }
  EXPECT_THAT(NextBatch(), ElementsAre(3));
  for (const int64_t length : {14, 13, 12}) EXPECT_THAT(NextBatch(), ElementsAre(length));
  model().Release();
  for (std::future<grpc::Status>& answer : answers) EXPECT_TRUE(answer.get().ok());
}

TEST_F(OverloadTest, AnUnknownPriorityIsRefused) {
  StartServer();
  const grpc::Status status = Send("x", {{kPriorityMetadata, "urgent"}}).get();
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("x-longwave-priority"));
  EXPECT_THAT(status.error_message(), HasSubstr("urgent"));
}

TEST_F(OverloadTest, AnInputThatDoesNotFitIntoMemoryFailsAlone) {
  options_.memory_budget = 50;  // the fake takes a byte for each token
  StartServer();
  const v1::EncodeResponse response = MustEncode(EncodeTexts({"a", std::string(60, 'x'), "b"}));
  ASSERT_EQ(response.results_size(), 3);
  EXPECT_EQ(response.results(0).status().code(), grpc::OK);
  EXPECT_EQ(response.results(1).status().code(), grpc::OUT_OF_RANGE);
  EXPECT_THAT(response.results(1).status().message(), HasSubstr("memory"));
  EXPECT_EQ(response.results(2).status().code(), grpc::OK);
}

TEST_F(OverloadTest, ABatchThatRunsOutOfMemoryIsComputedInParts) {
  StartServer();
  model().set_batch_limit(2);
  const v1::EncodeResponse response = MustEncode(EncodeTexts({"a", "b", "c", "d", "e"}));
  for (const v1::EncodeResult& result : response.results()) {
    EXPECT_EQ(result.status().code(), grpc::OK) << result.status().message();
  }
  EXPECT_GT(Metric("longwave_batch_splits_total{model=\"fake\"}"), 0);
}

}  // namespace
}  // namespace longwave
