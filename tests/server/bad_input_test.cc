#include <gmock/gmock.h>

#include <new>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/server/server_fixture.h"

namespace longwave {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class BadInputTest : public ServerTest {
 protected:
  // Sends `bad` between two good inputs: it fails alone, with this code and a message that names it
  // and says `part`.
  void ExpectFailsAlone(const v1::Input& bad, grpc::StatusCode code, const std::string& part,
                        const v1::Truncation& truncation = {}) {
    v1::EncodeRequest request = EncodeTexts({"good", "", "fine"});
    *request.mutable_inputs(1) = bad;
    *request.mutable_options()->mutable_truncation() = truncation;
    const v1::EncodeResponse response = MustEncode(request);
    ASSERT_EQ(response.results_size(), 3);
    EXPECT_EQ(response.results(0).status().code(), 0);
    EXPECT_EQ(response.results(2).status().code(), 0);
    EXPECT_EQ(Floats(response.results(0).embedding()), FakeModel::Row(Ids("good"), 0));
    EXPECT_EQ(Floats(response.results(2).embedding()), FakeModel::Row(Ids("fine"), 0));
    EXPECT_EQ(response.results(1).status().code(), code);
    EXPECT_THAT(response.results(1).status().message(),
                AllOf(HasSubstr("inputs[1]"), HasSubstr(part)));
    EXPECT_FALSE(response.results(1).has_embedding());
    EXPECT_EQ(response.usage().inputs(), 2);
  }

  void ExpectRefused(const v1::EncodeRequest& request, grpc::StatusCode code,
                     const std::string& part) {
    const grpc::Status status = EncodeStatus(request);
    EXPECT_EQ(status.error_code(), code) << status.error_message();
    EXPECT_THAT(status.error_message(), HasSubstr(part));
    EXPECT_EQ(model().items_run(), 0);  // found before any compute
  }

  static v1::Input Text(const std::string& text) {
    v1::Input input;
    input.set_text(text);
    return input;
  }
};

TEST_F(BadInputTest, EmptyInputs) {
  StartServer();
  v1::Input raw;
  raw.set_raw("");
  v1::Input ids;
  ids.mutable_token_ids();
  ExpectFailsAlone(Text(""), grpc::StatusCode::INVALID_ARGUMENT, "");
  ExpectFailsAlone(raw, grpc::StatusCode::INVALID_ARGUMENT, "");
  ExpectFailsAlone(ids, grpc::StatusCode::INVALID_ARGUMENT, "");
  ExpectFailsAlone(v1::Input(), grpc::StatusCode::INVALID_ARGUMENT, "no data");
}

TEST_F(BadInputTest, InvalidUtf8IsBadTextButFineAsBytes) {
  StartServer();
  const std::string invalid = "caf\xe9\xff";
  ExpectFailsAlone(Text(invalid), grpc::StatusCode::INVALID_ARGUMENT, "UTF-8");
  v1::EncodeRequest request;
  request.add_inputs()->set_raw(invalid);
  const v1::EncodeResponse response = MustEncode(request);
  EXPECT_EQ(response.results(0).status().code(), 0) << response.results(0).status().message();
  EXPECT_EQ(response.results(0).tokens(), 7);
}

TEST_F(BadInputTest, IdsOutsideTheVocabulary) {
  StartServer();
  for (const uint32_t id : {uint32_t{FakeModel::kVocabSize}, 0x80000000u, 0xffffffffu}) {
    v1::Input input;
    input.mutable_token_ids()->add_ids(5);
    input.mutable_token_ids()->add_ids(id);
    ExpectFailsAlone(input, grpc::StatusCode::INVALID_ARGUMENT, std::to_string(id));
  }
}

TEST_F(BadInputTest, TooLongIsAnErrorThatNamesTheLimit) {
  StartServer();
  ExpectFailsAlone(Text(std::string(FakeModel::kMaxLength - 1, 'x')),
                   grpc::StatusCode::OUT_OF_RANGE, "100");
  v1::Truncation truncation;
  truncation.set_max_tokens(10);
  ExpectFailsAlone(Text("nine chars"), grpc::StatusCode::OUT_OF_RANGE, "10", truncation);
}

TEST_F(BadInputTest, TheServersOwnLimitOfAnInput) {
  options_.limits.max_input_tokens = 12;
  StartServer();
  ExpectFailsAlone(Text("eleven char"), grpc::StatusCode::OUT_OF_RANGE, "12");
  EXPECT_EQ(MustEncode(EncodeTexts({"ten chars."})).results(0).tokens(), 12);

  v1::EncodeRequest request = EncodeTexts({std::string(50, 'x')});
  v1::Truncation& truncation = *request.mutable_options()->mutable_truncation();
  truncation.set_policy(v1::TRUNCATION_POLICY_TRUNCATE_END);
  EXPECT_EQ(MustEncode(request).results(0).tokens(), 12);
  truncation.set_max_tokens(13);
  EXPECT_EQ(EncodeStatus(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);

  grpc::ClientContext context;
  v1::GetModelRequest get;
  get.set_name("fake");
  v1::GetModelResponse got;
  ASSERT_TRUE(model_stub_->GetModel(&context, get, &got).ok());
  EXPECT_EQ(got.model().max_length(), 12);
}

TEST_F(BadInputTest, TheServersLimitNeverExceedsTheModels) {
  options_.limits.max_input_tokens = FakeModel::kMaxLength + 1;
  StartServer();
  ExpectFailsAlone(Text(std::string(FakeModel::kMaxLength - 1, 'x')),
                   grpc::StatusCode::OUT_OF_RANGE, "100");
}

TEST_F(BadInputTest, TruncationHappensOnlyWhenAskedAndIsReported) {
  StartServer();
  v1::EncodeRequest request = EncodeTexts({std::string(150, 'x'), "short"});
  request.mutable_options()->mutable_truncation()->set_policy(v1::TRUNCATION_POLICY_TRUNCATE_END);
  const v1::EncodeResponse response = MustEncode(request);
  EXPECT_EQ(response.results(0).status().code(), 0);
  EXPECT_EQ(response.results(0).tokens(), FakeModel::kMaxLength);
  EXPECT_EQ(response.results(0).tokens_dropped(), 52);
  EXPECT_EQ(response.results(1).tokens_dropped(), 0);
}

TEST_F(BadInputTest, TruncationOptionsOutOfRange) {
  StartServer();
  for (const int64_t max_tokens : {int64_t{-1}, FakeModel::kMaxLength + 1}) {
    v1::EncodeRequest request = EncodeTexts({"a"});
    request.mutable_options()->mutable_truncation()->set_max_tokens(max_tokens);
    ExpectRefused(request, grpc::StatusCode::INVALID_ARGUMENT, std::to_string(max_tokens));
  }
  v1::EncodeRequest request = EncodeTexts({"a"});
  request.mutable_options()->mutable_truncation()->set_policy(
      static_cast<v1::TruncationPolicy>(77));
  ExpectRefused(request, grpc::StatusCode::INVALID_ARGUMENT, "77");
}

TEST_F(BadInputTest, UnknownModelAndVersion) {
  StartServer();
  v1::EncodeRequest request = EncodeTexts({"a"});
  request.mutable_model()->set_name("absent");
  ExpectRefused(request, grpc::StatusCode::NOT_FOUND, "absent");
  request.mutable_model()->set_name("fake");
  request.mutable_model()->set_version(9);
  ExpectRefused(request, grpc::StatusCode::NOT_FOUND, "version 9");
  request.mutable_model()->set_version(-2);
  ExpectRefused(request, grpc::StatusCode::INVALID_ARGUMENT, "-2");

  grpc::ClientContext context;
  v1::GetModelRequest get;
  v1::GetModelResponse got;
  EXPECT_EQ(model_stub_->GetModel(&context, get, &got).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  grpc::ClientContext absent;
  get.set_name("absent");
  EXPECT_EQ(model_stub_->GetModel(&absent, get, &got).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(BadInputTest, TheNumberOfInputs) {
  options_.limits.max_inputs = 3;
  StartServer();
  ExpectRefused(v1::EncodeRequest(), grpc::StatusCode::INVALID_ARGUMENT,
                "found 0, expected 1 to 3");
  ExpectRefused(EncodeTexts({"a", "b", "c", "d"}), grpc::StatusCode::INVALID_ARGUMENT,
                "found 4, expected 1 to 3");
  EXPECT_EQ(MustEncode(EncodeTexts({"a", "b", "c"})).results_size(), 3);
}

TEST_F(BadInputTest, AHundredThousandInputs) {
  StartServer();
  v1::EncodeRequest request;
  for (int i = 0; i < 100000; ++i) request.add_inputs()->set_text("a");
  ExpectRefused(request, grpc::StatusCode::INVALID_ARGUMENT, "found 100000, expected 1 to 2048");
  EXPECT_EQ(MustEncode(EncodeTexts({"still there"})).results_size(), 1);
}

TEST_F(BadInputTest, ARequestOverTheMessageLimit) {
  options_.max_message_bytes = 1000;
  StartServer();
  ExpectRefused(EncodeTexts({std::string(2000, 'x')}), grpc::StatusCode::RESOURCE_EXHAUSTED,
                "1000");
  EXPECT_EQ(MustEncode(EncodeTexts({"still there"})).results_size(), 1);
}

TEST_F(BadInputTest, RequestsInsideHoldABoundedNumberOfBytes) {
  options_.max_message_bytes = 1000;
  options_.max_in_flight_bytes = 1000;
  StartServer();
  const v1::EncodeRequest request = EncodeTexts(std::vector<std::string>(6, std::string(90, 'x')));
  model().Hold();
  std::thread inside([&] { MustEncode(request); });
  model().AwaitHeldBatch();
  const grpc::Status refused = EncodeStatus(request);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(refused.error_message(), HasSubstr("the limit is 1000"));
  grpc::Status refused_stream;
  EXPECT_TRUE(
      Stream(StreamTexts(std::vector<std::string>(6, std::string(90, 'x'))), &refused_stream)
          .empty());
  EXPECT_EQ(refused_stream.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(
      Metric("longwave_requests_total{code=\"RESOURCE_EXHAUSTED\",model=\"fake\",rpc=\"Encode\"}"),
      1);
  model().Release();
  inside.join();
  grpc::Status again;
  do {  // a request is inside until gRPC has sent its answer
    again = EncodeStatus(request);
  } while (again.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(again.ok()) << again.error_message();
}

TEST_F(BadInputTest, AResponseOverTheLimitPointsToTheStream) {
  options_.limits.max_response_bytes = 10000;
  StartServer();
  v1::EncodeRequest request = EncodeTexts({std::string(60, 'x')});
  request.mutable_options()->mutable_pooling()->mutable_none();  // 62 rows of 256 bytes
  ExpectRefused(request, grpc::StatusCode::OUT_OF_RANGE, "EncodeStream");
  request.mutable_options()->mutable_format()->set_type(v1::EMBEDDING_TYPE_FLOAT16);
  EXPECT_EQ(MustEncode(request).results_size(), 1);
}

TEST_F(BadInputTest, AClassifyResponseOverTheLimit) {
  options_.limits.max_response_bytes = 300;
  StartServer();
  v1::ClassifyRequest request = ClassifyTexts({"a", "b"});
  request.set_head("kind");
  const grpc::Status status = ClassifyStatus(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_THAT(status.error_message(), HasSubstr("300"));
}

TEST_F(BadInputTest, FormatsThatDoNotExist) {
  StartServer();
  v1::EncodeRequest request = EncodeTexts({"a"});
  request.mutable_options()->mutable_format()->set_type(static_cast<v1::EmbeddingType>(55));
  ExpectRefused(request, grpc::StatusCode::INVALID_ARGUMENT, "55");
  request.mutable_options()->mutable_format()->set_type(v1::EMBEDDING_TYPE_BFLOAT16);
  request.mutable_options()->mutable_format()->set_as_floats(true);
  ExpectRefused(request, grpc::StatusCode::INVALID_ARGUMENT, "as_floats");
}

TEST_F(BadInputTest, ARequestThatNeverFitsTheQueue) {
  options_.batching.max_queue_tokens = 50;
  StartServer();
  ExpectRefused(EncodeTexts({std::string(60, 'x')}), grpc::StatusCode::OUT_OF_RANGE, "50 tokens");
}

TEST_F(BadInputTest, OnlyBadInputsStillGetTheirStatuses) {
  StartServer();
  const v1::EncodeResponse response = MustEncode(EncodeTexts({"", ""}));
  ASSERT_EQ(response.results_size(), 2);
  EXPECT_EQ(response.results(1).status().code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(response.usage().inputs(), 0);
  EXPECT_EQ(model().items_run(), 0);
}

TEST_F(BadInputTest, AFailureOfTheModelIsTheItemsOwn) {
  StartServer();
  model().set_fault([](const RunItem& item) {
    return item.tokens[1] == 'b' ? absl::ResourceExhaustedError("no memory") : absl::OkStatus();
  });
  const v1::EncodeResponse response = MustEncode(EncodeTexts({"a", "b"}));
  EXPECT_EQ(response.results(0).status().code(), 0);
  EXPECT_EQ(response.results(1).status().code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(BadInputTest, TheServerLivesThroughExceptionsOfTheModel) {
  StartServer();
  model().set_fault([](const RunItem&) -> absl::Status { throw std::bad_alloc(); });
  EXPECT_EQ(MustEncode(EncodeTexts({"a"})).results(0).status().code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  model().set_fault([](const RunItem&) -> absl::Status { throw std::runtime_error("broken"); });
  const v1::EncodeResponse response = MustEncode(EncodeTexts({"a"}));
  EXPECT_EQ(response.results(0).status().code(), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(response.results(0).status().message(),
              AllOf(HasSubstr("broken"), HasSubstr("(request ")));  // as in the log

  grpc::Status status;
  const std::vector<v1::EncodeStreamResponse> chunks = Stream(StreamTexts({"a"}), &status);
  ASSERT_EQ(chunks.size(), 1u);
  EXPECT_EQ(chunks[0].status().code(), grpc::StatusCode::INTERNAL);
  EXPECT_THAT(chunks[0].status().message(), HasSubstr("(request "));
  model().set_fault(nullptr);
  EXPECT_EQ(MustEncode(EncodeTexts({"a"})).results(0).status().code(), 0);
}

}  // namespace
}  // namespace longwave
