#include <gmock/gmock.h>

#include <cstring>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/rpc/half_precision.h"
#include "tests/server/server_fixture.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;

using EncodeTest = ServerTest;

TEST_F(EncodeTest, AnswersInTheOrderOfTheRequest) {
  StartServer();
  const v1::EncodeResponse response = MustEncode(EncodeTexts({"alpha", "b", "gamma ray"}));
  ASSERT_EQ(response.results_size(), 3);
  const std::vector<std::string> texts = {"alpha", "b", "gamma ray"};
  for (int i = 0; i < 3; ++i) {
    const v1::EncodeResult& result = response.results(i);
    EXPECT_EQ(result.status().code(), 0) << result.status().message();
    EXPECT_EQ(result.tokens(), static_cast<int64_t>(texts[i].size()) + 2);
    EXPECT_EQ(result.tokens_dropped(), 0);
    EXPECT_EQ(result.embedding().type(), v1::EMBEDDING_TYPE_FLOAT32);
    EXPECT_THAT(result.embedding().shape(), ElementsAre(FakeModel::kHiddenSize));
    EXPECT_THAT(Floats(result.embedding()), ElementsAreArray(FakeModel::Row(Ids(texts[i]), 0)));
  }
  EXPECT_EQ(response.model().name(), "fake");
  EXPECT_EQ(response.model().version(), 1);
  EXPECT_EQ(response.usage().tokens(), 7 + 3 + 11);
  EXPECT_EQ(response.usage().padded_tokens(), 0);
  EXPECT_EQ(response.usage().inputs(), 3);
}

TEST_F(EncodeTest, TimesItsPhases) {
  StartServer();
  const v1::Timing timing = MustEncode(EncodeTexts({"some text"})).timing();
  EXPECT_GT(timing.tokenize_ns(), 0);
  EXPECT_GT(timing.compute_ns(), 0);
  EXPECT_GE(timing.queue_ns(), 0);
  EXPECT_GE(timing.total_ns(), timing.tokenize_ns() + timing.queue_ns() + timing.compute_ns());
}

TEST_F(EncodeTest, NoPoolingGivesARowPerToken) {
  StartServer();
  v1::EncodeRequest request = EncodeTexts({"xyz"});
  request.mutable_options()->mutable_pooling()->mutable_none();
  const v1::EncodeResponse response = MustEncode(request);
  ASSERT_EQ(response.results_size(), 1);
  EXPECT_THAT(response.results(0).embedding().shape(), ElementsAre(5, FakeModel::kHiddenSize));
  std::vector<float> expected;
  for (int row = 0; row < 5; ++row) {
    for (const float value : FakeModel::Row(Ids("xyz"), row)) expected.push_back(value);
  }
  EXPECT_THAT(Floats(response.results(0).embedding()), ElementsAreArray(expected));
}

TEST_F(EncodeTest, PoolingAndNormalisationReachTheModel) {
  StartServer();
  std::vector<std::pair<Pooling, bool>> seen;
  model().set_fault([&](const RunItem& item) {
    seen.emplace_back(item.pooling, item.normalize);
    return absl::OkStatus();
  });
  v1::EncodeRequest request = EncodeTexts({"a"});
  MustEncode(request);
  request.mutable_options()->mutable_pooling()->mutable_first_token();
  request.mutable_options()->set_normalize(true);
  MustEncode(request);
  EXPECT_THAT(seen,
              ElementsAre(std::pair(Pooling::kMean, false), std::pair(Pooling::kFirstToken, true)));
}

TEST_F(EncodeTest, TextBytesAndIdsAreThreeWaysToTheSame) {
  StartServer();
  v1::EncodeRequest request = EncodeTexts({"same"});
  request.add_inputs()->set_raw("same");
  for (const int32_t id : Ids("same")) {
    if (request.inputs_size() < 3) request.add_inputs();
    request.mutable_inputs(2)->mutable_token_ids()->add_ids(static_cast<uint32_t>(id));
  }
  const v1::EncodeResponse response = MustEncode(request);
  ASSERT_EQ(response.results_size(), 3);
  EXPECT_EQ(response.results(0).embedding().data(), response.results(1).embedding().data());
  EXPECT_EQ(response.results(0).embedding().data(), response.results(2).embedding().data());
}

TEST_F(EncodeTest, HalvesAreRoundedToNearestEven) {
  StartServer();
  for (const auto& [type, convert] : std::vector<std::pair<v1::EmbeddingType, uint16_t (*)(float)>>{
           {v1::EMBEDDING_TYPE_FLOAT16, ToFloat16Bits},
           {v1::EMBEDDING_TYPE_BFLOAT16, ToBfloat16Bits}}) {
    v1::EncodeRequest request = EncodeTexts({"q"});
    request.mutable_options()->mutable_pooling()->mutable_none();
    request.mutable_options()->mutable_format()->set_type(type);
    const v1::EncodeResponse response = MustEncode(request);
    const v1::Embedding& embedding = response.results(0).embedding();
    EXPECT_EQ(embedding.type(), type);
    std::vector<uint16_t> bits(embedding.data().size() / 2);
    std::memcpy(bits.data(), embedding.data().data(), embedding.data().size());
    std::vector<uint16_t> expected;
    for (int row = 0; row < 3; ++row) {
      for (const float value : FakeModel::Row(Ids("q"), row)) expected.push_back(convert(value));
    }
    EXPECT_THAT(bits, ElementsAreArray(expected));
  }
}

TEST_F(EncodeTest, FloatsComeAsNumbersWhenAsked) {
  StartServer();
  v1::EncodeRequest request = EncodeTexts({"q"});
  request.mutable_options()->mutable_format()->set_as_floats(true);
  const v1::EncodeResponse response = MustEncode(request);
  const v1::Embedding& embedding = response.results(0).embedding();
  EXPECT_THAT(embedding.values(), ElementsAreArray(FakeModel::Row(Ids("q"), 0)));
  EXPECT_THAT(embedding.data(), IsEmpty());
}

TEST_F(EncodeTest, AnEarlierVersionCanBeAskedFor) {
  repository_.MakeFolder("fake/1");
  repository_.MakeFolder("fake/4");
  StartServer();
  v1::EncodeRequest request = EncodeTexts({"a"});
  EXPECT_EQ(MustEncode(request).model().version(), 4);
  request.mutable_model()->set_version(1);
  EXPECT_EQ(MustEncode(request).model().version(), 1);
  EXPECT_EQ(model(0).items_run(), 1);
  EXPECT_EQ(model(1).items_run(), 1);
}

TEST_F(EncodeTest, UnequalRequestsShareABatchWhileTheModelIsBusy) {
  options_.batching.max_batch_time = absl::InfiniteDuration();  // what is held seems slow
  StartServer();
  model().Hold();
  std::vector<std::thread> clients;
  clients.emplace_back([&] { MustEncode(EncodeTexts({"first"})); });
  model().AwaitHeldBatch();
  clients.emplace_back([&] { MustEncode(EncodeTexts({"a"})); });
  clients.emplace_back([&] { MustEncode(EncodeTexts({"a longer one", "xyz"})); });
  AwaitMetric("longwave_queue_inputs{model=\"fake\"}", 3);
  model().Release();
  for (std::thread& client : clients) client.join();
  EXPECT_THAT(model().batch_sizes(), ElementsAre(1, 3));
}

TEST_F(EncodeTest, ExplainsThePlanOfTheAttention) {
  StartServer();
  const auto plan = [&](const std::string& name, std::vector<int64_t> lengths) {
    grpc::ClientContext context;
    v1::PlanAttentionRequest request;
    request.set_name(name);
    request.mutable_lengths()->Assign(lengths.begin(), lengths.end());
    v1::PlanAttentionResponse response;
    const grpc::Status status = model_stub_->PlanAttention(&context, request, &response);
    return std::pair(status.error_code(), response);
  };
  const auto [code, response] = plan("fake", {7, 100});
  ASSERT_EQ(code, grpc::StatusCode::OK);
  ASSERT_EQ(response.plans_size(), 1);
  EXPECT_THAT(response.plans(0).layers(), ElementsAre(0));
  EXPECT_THAT(response.plans(0).heads(), ElementsAre(0, 1));
  EXPECT_THAT(response.plans(0).lengths(), ElementsAre(7, 100));
  EXPECT_EQ(response.plans(0).algorithm(), "fake");
  EXPECT_EQ(response.plans(0).predicted_ms(), 2.5);
  EXPECT_EQ(plan("absent", {7}).first, grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(plan("fake", {FakeModel::kMaxLength + 1}).first, grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(plan("fake", {}).first, grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(plan("fake", std::vector<int64_t>(65, 1)).first, grpc::StatusCode::INVALID_ARGUMENT);
  model().set_fault([](const RunItem&) -> absl::Status { throw std::runtime_error("broken"); });
  EXPECT_EQ(plan("fake", {7}).first, grpc::StatusCode::INTERNAL);
}

TEST_F(EncodeTest, ListsAndDescribesItsModels) {
  repository_.MakeFolder("a/2");
  repository_.MakeFolder("b/1");
  StartServer();
  grpc::ClientContext list_context;
  v1::ListModelsResponse list;
  ASSERT_TRUE(model_stub_->ListModels(&list_context, {}, &list).ok());
  ASSERT_EQ(list.models_size(), 2);
  EXPECT_EQ(list.models(0).name(), "a");
  EXPECT_EQ(list.models(1).name(), "b");

  grpc::ClientContext get_context;
  v1::GetModelRequest get;
  get.set_name("a");
  v1::GetModelResponse got;
  ASSERT_TRUE(model_stub_->GetModel(&get_context, get, &got).ok());
  const v1::ModelInfo& info = got.model();
  EXPECT_EQ(info.version(), 2);
  EXPECT_EQ(info.hidden_size(), FakeModel::kHiddenSize);
  EXPECT_EQ(info.vocab_size(), FakeModel::kVocabSize);
  EXPECT_EQ(info.max_length(), FakeModel::kMaxLength);
  EXPECT_EQ(info.tokenizer(), "byte");
  EXPECT_EQ(info.pooling(), "mean");
  EXPECT_THAT(info.tasks(), ElementsAre("encode", "classify"));
  ASSERT_EQ(info.heads_size(), 2);
  EXPECT_EQ(info.heads(0).name(), "kind");
  EXPECT_THAT(info.heads(0).labels(), ElementsAre("prose", "code", "data"));
  EXPECT_EQ(info.parameters(), 4242);
  EXPECT_EQ(info.device(), "cpu");
  EXPECT_EQ(info.feature_map(), "prf");
}

}  // namespace
}  // namespace longwave
