// The whole road with a real encoder: what comes over gRPC is what the model computes.

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "longwave/v1/inference.grpc.pb.h"
#include "model/runtime/model.h"
#include "server/server.h"
#include "tests/server/server_fixture.h"
#include "tests/support/files.h"
#include "tests/support/random_model.h"

namespace longwave {
namespace {

// By how many batches are computed at once. Both lanes are used.
class RealModelTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override {
    const std::string folder = repository_.path() + "/small/1";
    testing::WriteRandomModel(folder, testing::SmallModelConfig(), /*seed=*/20261);
    Model::Options model_options;
    model_options.threads = 1;
    absl::StatusOr<std::unique_ptr<Model>> direct = Model::Load(folder, model_options);
    ASSERT_TRUE(direct.ok()) << direct.status();
    direct_ = *std::move(direct);

    Server::Options options;
    options.model_repository = repository_.path();
    options.listen = "127.0.0.1:0";
    options.metrics_listen = "";
    options.workers_per_device = GetParam();
    options.batching.long_item_tokens = 64;
    absl::StatusOr<std::unique_ptr<Server>> server = Server::Create(
        options,
        [&](const std::string& path, const std::string&) {
          return Model::Load(path, model_options);
        },
        &Clock::Monotonic());
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    ASSERT_TRUE(server_->Start().ok());
    stub_ = v1::InferenceService::NewStub(grpc::CreateChannel(
        absl::StrCat("127.0.0.1:", server_->grpc_port()), grpc::InsecureChannelCredentials()));
  }

  // What the model computes for this text alone.
  RunResult Direct(const std::string& text, RunItem item) {
    absl::StatusOr<TokenSequence> tokens =
        direct_->tokenizer().EncodeText(text, direct_->info().max_length, Overflow::kError);
    EXPECT_TRUE(tokens.ok()) << tokens.status();
    item.tokens = tokens->ids;
    return direct_->Run({item})[0];
  }

  v1::EncodeResponse MustEncode(const v1::EncodeRequest& request) {
    grpc::ClientContext context;
    v1::EncodeResponse response;
    const grpc::Status status = stub_->Encode(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }

  // Equal to 1e-5 of the largest value.
  static void ExpectClose(const std::vector<float>& found, const std::vector<float>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    float largest = 0;
    for (const float value : expected) largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(found[i], expected[i], 1e-5 * largest) << i;
    }
  }

  // Printable text of a random length.
  std::string RandomText(int max_length) {
    std::string text(1 + random_() % max_length, ' ');
    for (char& c : text) c = static_cast<char>(' ' + random_() % 95);
    return text;
  }

  std::mt19937 random_{42};
  testing::TempFolder repository_;
  std::unique_ptr<Model> direct_;
  std::unique_ptr<Server> server_;
  std::unique_ptr<v1::InferenceService::Stub> stub_;
};

TEST_P(RealModelTest, EmbeddingsAreTheModelsOwn) {
  std::vector<std::string> texts;
  for (int i = 0; i < 9; ++i) texts.push_back(RandomText(300));
  v1::EncodeRequest request = EncodeTexts(texts);
  request.mutable_options()->set_normalize(true);
  const v1::EncodeResponse response = MustEncode(request);
  ASSERT_EQ(response.results_size(), 9);
  RunItem item;
  item.pooling = direct_->info().default_pooling;
  item.normalize = true;
  for (int i = 0; i < 9; ++i) {
    const RunResult expected = Direct(texts[i], item);
    ASSERT_TRUE(expected.status.ok()) << expected.status;
    ExpectClose(Floats(response.results(i).embedding()), expected.values);
  }
}

TEST_P(RealModelTest, ProbabilitiesAreTheModelsOwn) {
  const std::string text = RandomText(200);
  v1::ClassifyRequest request = ClassifyTexts({text});
  request.set_head("topic");
  grpc::ClientContext context;
  v1::ClassifyResponse response;
  const grpc::Status status = stub_->Classify(&context, request, &response);
  ASSERT_TRUE(status.ok()) << status.error_message();
  RunItem item;
  item.task = Task::kClassify;
  const RunResult expected = Direct(text, item);
  std::vector<float> found(expected.values.size());
  double sum = 0;
  for (const v1::LabelScore& score : response.results(0).labels()) {
    found[score.index()] = score.probability();
    sum += score.probability();
  }
  ExpectClose(found, expected.values);
  EXPECT_NEAR(sum, 1, 1e-5);
}

TEST_P(RealModelTest, ConcurrentRequestsGetTheirOwnAnswers) {
  constexpr int kThreads = 4;
  constexpr int kRequests = 10;
  std::vector<std::vector<std::string>> texts(kThreads);
  for (auto& of_thread : texts) {
    for (int i = 0; i < kRequests; ++i) of_thread.push_back(RandomText(120));
  }
  std::vector<std::vector<v1::EncodeResponse>> responses(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (const std::string& text : texts[t]) {
        responses[t].push_back(MustEncode(EncodeTexts({text})));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  RunItem item;
  item.pooling = direct_->info().default_pooling;
  for (int t = 0; t < kThreads; ++t) {
    for (int i = 0; i < kRequests; ++i) {
      ASSERT_EQ(responses[t][i].results_size(), 1);
      ExpectClose(Floats(responses[t][i].results(0).embedding()), Direct(texts[t][i], item).values);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Workers, RealModelTest, ::testing::Values(1, 4));

}  // namespace
}  // namespace longwave
