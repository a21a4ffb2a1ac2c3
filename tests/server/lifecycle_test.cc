#include <gmock/gmock.h>
#include <grpcpp/generic/generic_stub.h>

#include <future>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "tests/server/http_get.h"
#include "tests/server/server_fixture.h"

namespace longwave {
namespace {

using ::grpc::health::v1::Health;
using ::grpc::health::v1::HealthCheckRequest;
using ::grpc::health::v1::HealthCheckResponse;
using ::testing::HasSubstr;

constexpr char kServiceName[] = "longwave.v1.InferenceService";
constexpr char kQueuedInputs[] = "longwave_queue_inputs{model=\"fake\"}";

class LifecycleTest : public ServerTest {
 protected:
  HealthCheckResponse::ServingStatus HealthOf(const std::string& service) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(service);
    HealthCheckResponse response;
    const grpc::Status status = Health::NewStub(NewChannel())->Check(&context, request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.status();
  }

  absl::Status CreateStatus(const ModelLoader& loader) {
    if (models_.empty()) repository_.MakeFolder("fake/1");
    return Server::Create(options_, loader, &Clock::Monotonic()).status();
  }
};

TEST_F(LifecycleTest, ServesUnderBothHealthNames) {
  StartServer();
  EXPECT_EQ(HealthOf(""), HealthCheckResponse::SERVING);
  EXPECT_EQ(HealthOf(kServiceName), HealthCheckResponse::SERVING);
}

TEST_F(LifecycleTest, ReflectionListsItsServices) {
  StartServer();
  // The request is ServerReflectionRequest{list_services: ""}; one request and one response look
  // like a unary call.
  grpc::GenericStub stub(NewChannel());
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const std::string bytes = {0x3a, 0x00};
  const grpc::Slice slice(bytes);
  const auto call = stub.PrepareUnaryCall(
      &context, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
      grpc::ByteBuffer(&slice, 1), &queue);
  call->StartCall();
  grpc::ByteBuffer response;
  grpc::Status status;
  call->Finish(&response, &status, this);
  void* tag = nullptr;
  bool ok = false;
  ASSERT_TRUE(queue.Next(&tag, &ok));
  ASSERT_TRUE(status.ok()) << status.error_message();
  std::vector<grpc::Slice> slices;
  ASSERT_TRUE(response.Dump(&slices).ok());
  std::string text;
  for (const grpc::Slice& part : slices)
    text.append(reinterpret_cast<const char*>(part.begin()), part.size());
  for (const char* service : {kServiceName, "longwave.v1.ModelService", "grpc.health.v1.Health"}) {
    EXPECT_THAT(text, HasSubstr(service));
  }
}

TEST_F(LifecycleTest, ShutdownTurnsUnhealthyRefusesAndFinishesWhatIsInside) {
  StartServer();
  const auto health = Health::NewStub(NewChannel());
  grpc::ClientContext watch_context;
  HealthCheckRequest watched;
  watched.set_service(kServiceName);
  const auto watch = health->Watch(&watch_context, watched);
  HealthCheckResponse seen;
  ASSERT_TRUE(watch->Read(&seen));
  EXPECT_EQ(seen.status(), HealthCheckResponse::SERVING);

  model().Hold();
  v1::EncodeResponse inside;
  std::thread client([&] { inside = MustEncode(EncodeTexts({"inside"})); });
  model().AwaitHeldBatch();
  std::vector<v1::EncodeStreamResponse> chunks;
  std::thread streamer([&] {
    grpc::Status status;
    chunks = Stream(StreamTexts({"a", "b"}), &status);
    EXPECT_TRUE(status.ok()) << status.error_message();
  });
  AwaitMetric(kQueuedInputs, 2);

  auto shutdown =
      std::async(std::launch::async, [&] { return server_->Shutdown(absl::InfiniteDuration()); });
  ASSERT_TRUE(watch->Read(&seen));
  EXPECT_EQ(seen.status(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(HealthOf(""), HealthCheckResponse::NOT_SERVING);
  grpc::Status refused;
  do {  // the gate closes right after the health
    refused = EncodeStatus(v1::EncodeRequest());
  } while (refused.error_code() == grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(refused.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(refused.error_message(), HasSubstr("draining"));

  model().Release();
  client.join();
  streamer.join();
  EXPECT_TRUE(shutdown.get().ok());
  ASSERT_EQ(inside.results_size(), 1);
  EXPECT_EQ(inside.results(0).status().code(), 0);
  EXPECT_EQ(chunks.size(), 2u);
}

TEST_F(LifecycleTest, ADrainThatTakesTooLongDropsWhatIsLeft) {
  StartServer();
  model().Hold();
  grpc::Status inside;
  grpc::Status waiting;
  std::thread first([&] { inside = EncodeStatus(EncodeTexts({"inside"})); });
  model().AwaitHeldBatch();
  std::thread second([&] { waiting = EncodeStatus(EncodeTexts({"waiting"})); });
  AwaitMetric(kQueuedInputs, 1);
  const absl::Status drained = server_->Shutdown(absl::ZeroDuration());
  EXPECT_EQ(drained.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(std::string(drained.message()), HasSubstr("2 requests"));
  first.join();
  second.join();
  EXPECT_FALSE(inside.ok());
  EXPECT_EQ(waiting.error_code(), grpc::StatusCode::UNAVAILABLE) << waiting.error_message();
  model().Release();
}

TEST_F(LifecycleTest, ShutdownDoesNotWaitForWhatNobodyWaitsFor) {
  StartServer();
  model().Hold();
  grpc::ClientContext context;
  std::thread client([&] {
    v1::EncodeResponse response;
    const v1::EncodeRequest request = EncodeTexts({"a"});
    EXPECT_EQ(stub_->Encode(&context, request, &response).error_code(),
              grpc::StatusCode::CANCELLED);
  });
  model().AwaitHeldBatch();
  context.TryCancel();
  client.join();
  EXPECT_TRUE(server_->Shutdown(absl::InfiniteDuration()).ok());  // while the model computes
  model().Release();
}

TEST_F(LifecycleTest, ACancelledRequestLeavesTheQueue) {
  StartServer();
  model().Hold();
  std::thread busy([&] { MustEncode(EncodeTexts({"busy"})); });
  model().AwaitHeldBatch();
  grpc::ClientContext context;
  grpc::Status status;
  std::thread client([&] {
    v1::EncodeResponse response;
    status = stub_->Encode(&context, EncodeTexts({"a", "b"}), &response);
  });
  AwaitMetric(kQueuedInputs, 2);
  context.TryCancel();
  client.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  AwaitMetric(kQueuedInputs, 0);  // while the model is still busy
  model().Release();
  busy.join();
  EXPECT_EQ(model().items_run(), 1);
  AwaitMetric("longwave_requests_total{code=\"CANCELLED\",model=\"fake\",rpc=\"Encode\"}", 1);
}

TEST_F(LifecycleTest, AnExpiredRequestLeavesTheQueue) {
  StartServer();
  model().Hold();
  std::thread busy([&] { MustEncode(EncodeTexts({"busy"})); });
  model().AwaitHeldBatch();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::milliseconds(50));
  v1::ClassifyRequest request = ClassifyTexts({"late"});
  request.set_head("kind");
  v1::ClassifyResponse response;
  EXPECT_EQ(stub_->Classify(&context, request, &response).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  AwaitMetric(kQueuedInputs, 0);
  model().Release();
  busy.join();
  AwaitMetric("longwave_requests_in_flight", 0);
  EXPECT_EQ(model().items_run(), 1);
}

TEST_F(LifecycleTest, ACancellationDuringComputeDropsTheResult) {
  StartServer();
  model().Hold();
  grpc::ClientContext context;
  grpc::Status status;
  std::thread client([&] {
    v1::EncodeResponse response;
    status = stub_->Encode(&context, EncodeTexts({"a"}), &response);
  });
  model().AwaitHeldBatch();
  context.TryCancel();
  client.join();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::CANCELLED);
  AwaitMetric("longwave_requests_in_flight", 0);
  model().Release();
  EXPECT_EQ(MustEncode(EncodeTexts({"next"})).results_size(), 1);
}

TEST_F(LifecycleTest, APortInUseIsAClearError) {
  options_.metrics_listen = "127.0.0.1:0";
  StartServer();
  Server::Options taken = options_;
  taken.listen = absl::StrCat("127.0.0.1:", server_->grpc_port());
  const ModelLoader loader = [](const std::string&, const std::string&) {
    return std::make_unique<FakeModel>();
  };
  auto second = Server::Create(taken, loader, &Clock::Monotonic());
  ASSERT_TRUE(second.ok()) << second.status();
  const absl::Status grpc_taken = (*second)->Start();
  EXPECT_EQ(grpc_taken.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(grpc_taken.message()), HasSubstr(taken.listen));

  taken.listen = "127.0.0.1:0";
  taken.metrics_listen = absl::StrCat("127.0.0.1:", server_->metrics_port());
  auto third = Server::Create(taken, loader, &Clock::Monotonic());
  ASSERT_TRUE(third.ok()) << third.status();
  const absl::Status metrics_taken = (*third)->Start();
  EXPECT_EQ(metrics_taken.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(metrics_taken.message()), HasSubstr(taken.metrics_listen));
}

TEST_F(LifecycleTest, AModelThatDoesNotLoadIsAClearError) {
  const absl::Status status = CreateStatus(
      [](const std::string&, const std::string&) -> absl::StatusOr<std::unique_ptr<Model>> {
        return absl::InvalidArgumentError("model.safetensors: truncated");
      });
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "model fake version 1: model.safetensors: truncated");
}

TEST_F(LifecycleTest, AModelThatCannotRunIsFoundBeforeServing) {
  const absl::Status status = CreateStatus(
      [](const std::string&, const std::string&) -> absl::StatusOr<std::unique_ptr<Model>> {
        auto model = std::make_unique<FakeModel>();
        model->set_fault([](const RunItem&) { return absl::InternalError("no such kernel"); });
        return model;
      });
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("fake version 1: warm-up"));
}

TEST_F(LifecycleTest, OptionsAreChecked) {
  const auto refuses = [](const std::string& name, auto change) {
    Server::Options options;
    options.model_repository = "models";
    EXPECT_TRUE(options.Validate().ok());
    change(options);
    const absl::Status status = options.Validate();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr(name));
  };
  refuses("model_repository", [](Server::Options& o) { o.model_repository.clear(); });
  refuses("max_message_bytes", [](Server::Options& o) { o.max_message_bytes = 0; });
  refuses("max_message_bytes", [](Server::Options& o) { o.max_message_bytes = int64_t{1} << 31; });
  refuses("max_in_flight_bytes", [](Server::Options& o) { o.max_in_flight_bytes = 64 << 10; });
  refuses("max_input_tokens", [](Server::Options& o) { o.limits.max_input_tokens = -1; });
  refuses("max_inputs", [](Server::Options& o) { o.limits.max_inputs = 0; });
  refuses("max_response_bytes", [](Server::Options& o) { o.limits.max_response_bytes = -1; });
  refuses("max_batch_tokens", [](Server::Options& o) { o.batching.max_batch_tokens = 0; });
}

TEST_F(LifecycleTest, MetricsAreThereAtOnceAndMove) {
  options_.metrics_listen = "127.0.0.1:0";
  StartServer();
  const auto scraped = [&](const char* series) {
    return SeriesValue(HttpGet(server_->metrics_port(), "/metrics"), series);
  };
  const char* const requests = "longwave_requests_total{code=\"OK\",model=\"fake\",rpc=\"Encode\"}";
  for (const char* series :
       {requests, "longwave_tokens_total{model=\"fake\"}", "longwave_requests_in_flight",
        "longwave_batch_size_count{model=\"fake\"}",
        "longwave_requests_total{code=\"NOT_FOUND\",model=\"(unknown)\",rpc=\"Classify\"}"}) {
    EXPECT_EQ(scraped(series), 0) << series;
  }
  MustEncode(EncodeTexts({"some", "text", ""}));
  EXPECT_EQ(scraped(requests), 1);
  EXPECT_EQ(Metric("longwave_tokens_total{model=\"fake\"}"), 12);
  EXPECT_EQ(Metric("longwave_padded_tokens_total{model=\"fake\"}"), 0);
  EXPECT_EQ(Metric("longwave_batch_size_sum{model=\"fake\"}"), 2);
  EXPECT_EQ(Metric("longwave_batch_tokens_sum{model=\"fake\"}"), 12);
  EXPECT_EQ(Metric("longwave_inputs_total{code=\"OK\",model=\"fake\"}"), 2);
  EXPECT_EQ(Metric("longwave_inputs_total{code=\"INVALID_ARGUMENT\",model=\"fake\"}"), 1);
  EXPECT_EQ(Metric("longwave_queue_duration_seconds_count{model=\"fake\"}"), 2);
  EXPECT_EQ(Metric("longwave_tokenize_duration_seconds_count{model=\"fake\"}"), 1);
  EXPECT_EQ(Metric("longwave_compute_duration_seconds_count{device=\"cpu\",model=\"fake\"}"), 1);
  EXPECT_EQ(Metric("longwave_request_duration_seconds_count{model=\"fake\",rpc=\"Encode\"}"), 1);
  EXPECT_EQ(Metric("longwave_requests_in_flight"), 0);

  v1::EncodeRequest absent = EncodeTexts({"a"});
  absent.mutable_model()->set_name("absent");
  EncodeStatus(absent);
  EXPECT_EQ(
      Metric("longwave_requests_total{code=\"NOT_FOUND\",model=\"(unknown)\",rpc=\"Encode\"}"), 1);
  EncodeStatus(v1::EncodeRequest());
  EXPECT_EQ(
      Metric("longwave_requests_total{code=\"INVALID_ARGUMENT\",model=\"fake\",rpc=\"Encode\"}"),
      1);
  EXPECT_EQ(Metric("longwave_request_duration_seconds_count{model=\"fake\",rpc=\"Encode\"}"), 2);
}

}  // namespace
}  // namespace longwave
