#include "client/client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/channel.h"
#include "client/convert.h"
#include "client/in_flight.h"
#include "client/stream_assembler.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "longwave/v1/inference.grpc.pb.h"
#include "longwave/v1/model.grpc.pb.h"

namespace longwave::client {
namespace {

using SteadyClock = std::chrono::steady_clock;

// The codes of gRPC and Abseil are the same numbers.
absl::Status FromGrpc(const grpc::Status& status) {
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

void SetDeadline(absl::Duration timeout, grpc::ClientContext& context) {
  if (timeout == absl::InfiniteDuration()) return;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
}

// A unary call under way. Owns itself until gRPC calls back.
template <typename Request, typename Response>
struct UnaryCall {
  grpc::ClientContext context;
  Request request;
  Response response;
  SteadyClock::time_point start = SteadyClock::now();
};

// A stream under way. Deletes itself when it has ended.
class StreamCall : public grpc::ClientReadReactor<v1::EncodeStreamResponse> {
 public:
  StreamCall(v1::EncodeStreamRequest request, Client::EncodeCallback done)
      : request_(std::move(request)),
        done_(std::move(done)),
        assembler_(static_cast<size_t>(request_.inputs_size())) {}

  void Start(v1::InferenceService::Stub& stub, absl::Duration timeout) {
    SetDeadline(timeout, context_);
    stub.async()->EncodeStream(&context_, &request_, this);
    StartRead(&chunk_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    if (status_.ok()) {
      status_ = assembler_.Add(chunk_);
      if (!status_.ok()) context_.TryCancel();
    }
    StartRead(&chunk_);
  }

  void OnDone(const grpc::Status& status) override {
    if (status_.ok()) status_ = FromGrpc(status);
    absl::StatusOr<EncodeReply> reply =
        status_.ok() ? assembler_.Finish() : absl::StatusOr<EncodeReply>(status_);
    if (reply.ok()) reply->timing.round_trip = absl::FromChrono(SteadyClock::now() - start_);
    std::move(done_)(std::move(reply));
    delete this;
  }

 private:
  grpc::ClientContext context_;
  const v1::EncodeStreamRequest request_;
  Client::EncodeCallback done_;
  StreamAssembler assembler_;
  v1::EncodeStreamResponse chunk_;
  absl::Status status_;
  const SteadyClock::time_point start_ = SteadyClock::now();
};

class GrpcClient final : public Client {
 public:
  explicit GrpcClient(const Options& options)
      : options_(options),
        channel_(CreateChannel(options.server, options.max_message_bytes, options.max_attempts)),
        inference_(v1::InferenceService::NewStub(channel_)),
        models_(v1::ModelService::NewStub(channel_)),
        health_(grpc::health::v1::Health::NewStub(channel_)),
        in_flight_(options.max_in_flight) {}

  ~GrpcClient() override { in_flight_.WaitUntilIdle(); }

  absl::StatusOr<EncodeReply> Encode(const std::vector<Document>& documents,
                                     const EncodeOptions& options) override {
    return Await<EncodeReply>(
        [&](EncodeCallback done) { Start(documents, options, std::move(done)); });
  }

  absl::StatusOr<ClassifyReply> Classify(const std::vector<Document>& documents,
                                         const ClassifyOptions& options) override {
    return Await<ClassifyReply>(
        [&](ClassifyCallback done) { Start(documents, options, std::move(done)); });
  }

  void EncodeAsync(const std::vector<Document>& documents, const EncodeOptions& options,
                   EncodeCallback done) override {
    in_flight_.Acquire();
    Start(documents, options, Releasing<EncodeReply>(std::move(done)));
  }

  void ClassifyAsync(const std::vector<Document>& documents, const ClassifyOptions& options,
                     ClassifyCallback done) override {
    in_flight_.Acquire();
    Start(documents, options, Releasing<ClassifyReply>(std::move(done)));
  }

  void WaitUntilIdle() override { in_flight_.WaitUntilIdle(); }

  absl::StatusOr<std::vector<ModelInfo>> ListModels() override {
    grpc::ClientContext context;
    SetDeadline(options_.timeout, context);
    v1::ListModelsResponse response;
    const grpc::Status status = models_->ListModels(&context, {}, &response);
    if (!status.ok()) return FromGrpc(status);
    std::vector<ModelInfo> models;
    for (const v1::ModelInfo& model : response.models()) models.push_back(FromModelInfo(model));
    return models;
  }

  absl::StatusOr<ModelInfo> GetModel(const ModelId& model) override {
    grpc::ClientContext context;
    SetDeadline(options_.timeout, context);
    v1::GetModelRequest request;
    request.set_name(model.name);
    request.set_version(model.version);
    v1::GetModelResponse response;
    const grpc::Status status = models_->GetModel(&context, request, &response);
    if (!status.ok()) return FromGrpc(status);
    return FromModelInfo(response.model());
  }

  absl::StatusOr<std::vector<AttentionPlan>> PlanAttention(
      const ModelId& model, const std::vector<int64_t>& lengths) override {
    grpc::ClientContext context;
    SetDeadline(options_.timeout, context);
    v1::PlanAttentionRequest request;
    request.set_name(model.name);
    request.set_version(model.version);
    request.mutable_lengths()->Assign(lengths.begin(), lengths.end());
    v1::PlanAttentionResponse response;
    const grpc::Status status = models_->PlanAttention(&context, request, &response);
    if (!status.ok()) return FromGrpc(status);
    std::vector<AttentionPlan> plans;
    for (const v1::AttentionPlan& plan : response.plans()) plans.push_back(FromAttentionPlan(plan));
    return plans;
  }

  absl::Status CheckHealth(absl::string_view service) override {
    grpc::ClientContext context;
    SetDeadline(options_.timeout, context);
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(std::string(service));
    grpc::health::v1::HealthCheckResponse response;
    const grpc::Status status = health_->Check(&context, request, &response);
    if (!status.ok()) return FromGrpc(status);
    if (response.status() == grpc::health::v1::HealthCheckResponse::SERVING) {
      return absl::OkStatus();
    }
    return absl::UnavailableError(
        absl::StrCat("the server says ",
                     grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status())));
  }

 private:
  // Runs an asynchronous call and blocks for its reply.
  template <typename Reply, typename StartCall>
  static absl::StatusOr<Reply> Await(StartCall start) {
    absl::StatusOr<Reply> result = absl::UnknownError("the call has not ended");
    absl::Notification ended;
    start([&](absl::StatusOr<Reply> reply) {
      result = std::move(reply);
      ended.Notify();
    });
    ended.WaitForNotification();
    return result;
  }

  // `done`, then one request less in flight.
  template <typename Reply>
  absl::AnyInvocable<void(absl::StatusOr<Reply>) &&> Releasing(
      absl::AnyInvocable<void(absl::StatusOr<Reply>) &&> done) {
    return [this, done = std::move(done)](absl::StatusOr<Reply> reply) mutable {
      std::move(done)(std::move(reply));
      in_flight_.Release();
    };
  }

  // Calls `method` (a method of the asynchronous stub) and hands its reply to `done`. gRPC's
  // callback must be copyable, `done` is not.
  template <typename Reply, typename Response, typename Request, typename Done, typename Method>
  void StartUnary(Request request, Done done, Method method) {
    auto* call = new UnaryCall<Request, Response>{.request = std::move(request)};
    SetDeadline(options_.timeout, call->context);
    method(&call->context, &call->request, &call->response,
           [call, done = std::make_shared<Done>(std::move(done))](const grpc::Status& status) {
             absl::StatusOr<Reply> reply =
                 status.ok() ? FromResponse(call->response,
                                            static_cast<size_t>(call->request.inputs_size()))
                             : absl::StatusOr<Reply>(FromGrpc(status));
             if (reply.ok()) {
               reply->timing.round_trip = absl::FromChrono(SteadyClock::now() - call->start);
             }
             delete call;
             std::move (*done)(std::move(reply));
           });
  }

  void Start(const std::vector<Document>& documents, const EncodeOptions& options,
             EncodeCallback done) {
    if (options.pooling == Pooling::kNone) {
      auto* call = new StreamCall(ToEncodeStreamRequest(documents, options), std::move(done));
      call->Start(*inference_, options_.timeout);
      return;
    }
    StartUnary<EncodeReply, v1::EncodeResponse>(
        ToEncodeRequest(documents, options), std::move(done),
        [this](auto... arguments) { inference_->async()->Encode(std::move(arguments)...); });
  }

  void Start(const std::vector<Document>& documents, const ClassifyOptions& options,
             ClassifyCallback done) {
    StartUnary<ClassifyReply, v1::ClassifyResponse>(
        ToClassifyRequest(documents, options), std::move(done),
        [this](auto... arguments) { inference_->async()->Classify(std::move(arguments)...); });
  }

  const Options options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::InferenceService::Stub> inference_;
  const std::unique_ptr<v1::ModelService::Stub> models_;
  const std::unique_ptr<grpc::health::v1::Health::Stub> health_;
  InFlight in_flight_;
};

}  // namespace

absl::Status Client::Options::Validate() const {
  if (server.empty()) return absl::InvalidArgumentError("server is empty, expected host:port");
  if (timeout <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("timeout is ", absl::FormatDuration(timeout), ", expected more than 0"));
  }
  if (max_in_flight < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_in_flight is ", max_in_flight, ", expected at least 1"));
  }
  constexpr int64_t kMaxMessageBytes = std::numeric_limits<int>::max();
  if (max_message_bytes < 1 || max_message_bytes > kMaxMessageBytes) {
    return absl::InvalidArgumentError(absl::StrCat("max_message_bytes is ", max_message_bytes,
                                                   ", expected 1 to ", kMaxMessageBytes));
  }
  if (max_attempts < 1 || max_attempts > 5) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_attempts is ", max_attempts, ", expected 1 to 5"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Client>> Client::Create(const Options& options) {
  absl::Status status = options.Validate();
  if (!status.ok()) return status;
  return std::make_unique<GrpcClient>(options);
}

}  // namespace longwave::client
