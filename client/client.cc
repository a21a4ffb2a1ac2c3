#include "client/client.h"

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "absl/random/random.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "client/channel.h"
#include "client/convert.h"
#include "client/from_grpc.h"
#include "client/in_flight.h"
#include "client/retry.h"
#include "client/retry_timers.h"
#include "client/stream_assembler.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "longwave/v1/inference.grpc.pb.h"
#include "longwave/v1/model.grpc.pb.h"

namespace longwave::client {
namespace {

using SteadyClock = std::chrono::steady_clock;

void SetDeadline(absl::Time deadline, grpc::ClientContext& context) {
  if (deadline < absl::InfiniteFuture()) context.set_deadline(absl::ToChronoTime(deadline));
}

void SetDeadline(absl::Duration timeout, grpc::ClientContext& context) {
  SetDeadline(absl::Now() + timeout, context);
}

// One request, over all its attempts.
class Attempts {
 public:
  Attempts(const Client::Options& options, std::shared_ptr<RetryTimers> timers)
      : retry_(options.max_busy_attempts, absl::Now(), options.timeout),
        timers_(std::move(timers)) {}

  absl::Time deadline() const { return retry_.deadline(); }
  absl::Duration elapsed() const { return absl::FromChrono(SteadyClock::now() - start_); }

  // An attempt has ended with `status`. Whether there may be another one: then `next` is called, on
  // one of gRPC's threads, perhaps before this returns, with true when it is time for it, with
  // false when the client gives up: `status` is the answer then. `next` may destroy this object.
  bool Again(const absl::Status& status, std::function<void(bool)> next) {
    thread_local absl::BitGen random;
    const std::optional<absl::Duration> wait =
        retry_.Next(status, absl::Now(), absl::Uniform(random, 0.0, 1.0));
    if (!wait.has_value()) return false;
    const std::shared_ptr<RetryTimers> timers = timers_;
    timers->Start(*wait, std::move(next));
    return true;
  }

 private:
  BusyRetry retry_;
  const SteadyClock::time_point start_ = SteadyClock::now();
  std::shared_ptr<RetryTimers> timers_;
};

// A unary call under way. Deletes itself when it has ended.
template <typename Request, typename Response, typename Reply>
class UnaryCall {
 public:
  using Done = absl::AnyInvocable<void(absl::StatusOr<Reply>) &&>;
  // Of the asynchronous stub.
  using Method = void (v1::InferenceService::Stub::async::*)(grpc::ClientContext*, const Request*,
                                                             Response*,
                                                             std::function<void(grpc::Status)>);

  UnaryCall(Attempts attempts, v1::InferenceService::Stub& stub, Method method, Request request,
            Done done)
      : attempts_(std::move(attempts)),
        stub_(stub),
        method_(method),
        request_(std::move(request)),
        done_(std::move(done)) {}

  void Start() {
    context_.emplace();
    SetDeadline(attempts_.deadline(), *context_);
    (stub_.async()->*method_)(&*context_, &request_, &response_,
                              [this](const grpc::Status& status) { OnDone(status); });
  }

 private:
  void OnDone(const grpc::Status& grpc_status) {
    const absl::Status status = FromGrpc(grpc_status);
    const auto next = [this, status](bool again) {
      if (again) {
        Start();
      } else {
        End(status);
      }
    };
    if (!attempts_.Again(status, next)) End(status);
  }

  void End(const absl::Status& status) {
    absl::StatusOr<Reply> reply =
        status.ok() ? FromResponse(response_, static_cast<size_t>(request_.inputs_size()))
                    : absl::StatusOr<Reply>(status);
    if (reply.ok()) reply->timing.round_trip = attempts_.elapsed();
    Done done = std::move(done_);
    delete this;
    std::move(done)(std::move(reply));
  }

  Attempts attempts_;
  v1::InferenceService::Stub& stub_;
  const Method method_;
  const Request request_;
  Done done_;
  std::optional<grpc::ClientContext> context_;  // of an attempt
  Response response_;
};

// An attempt at a stream. Deletes itself when it has ended.
class StreamCall : public grpc::ClientReadReactor<v1::EncodeStreamResponse> {
 public:
  // What its attempts share.
  struct Job {
    Attempts attempts;
    v1::InferenceService::Stub& stub;
    const v1::EncodeStreamRequest request;
    Client::EncodeCallback done;
  };

  static void Start(std::shared_ptr<Job> job) {
    auto* const call = new StreamCall(std::move(job));
    SetDeadline(call->job_->attempts.deadline(), call->context_);
    call->job_->stub.async()->EncodeStream(&call->context_, &call->job_->request, call);
    call->StartRead(&call->chunk_);
    call->StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    begun_ = true;
    if (status_.ok()) {
      status_ = assembler_.Add(chunk_);
      if (!status_.ok()) context_.TryCancel();
    }
    StartRead(&chunk_);
  }

  void OnDone(const grpc::Status& status) override {
    if (status_.ok()) status_ = FromGrpc(status);
    const std::shared_ptr<Job> job = std::move(job_);
    const auto next = [job, status = status_](bool again) {
      if (again) {
        Start(job);
      } else {
        std::move(job->done)(status);
      }
    };
    if (begun_ || !job->attempts.Again(status_, next)) {
      absl::StatusOr<EncodeReply> reply =
          status_.ok() ? assembler_.Finish() : absl::StatusOr<EncodeReply>(status_);
      if (reply.ok()) reply->timing.round_trip = job->attempts.elapsed();
      std::move(job->done)(std::move(reply));
    }
    delete this;
  }

 private:
  explicit StreamCall(std::shared_ptr<Job> job)
      : job_(std::move(job)), assembler_(static_cast<size_t>(job_->request.inputs_size())) {}

  std::shared_ptr<Job> job_;
  grpc::ClientContext context_;
  StreamAssembler assembler_;
  v1::EncodeStreamResponse chunk_;
  bool begun_ = false;
  absl::Status status_;
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

  ~GrpcClient() override {
    timers_->Cancel();
    in_flight_.WaitUntilIdle();
  }

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

  void Start(const std::vector<Document>& documents, const EncodeOptions& options,
             EncodeCallback done) {
    if (options.pooling == Pooling::kNone) {
      StreamCall::Start(std::make_shared<StreamCall::Job>(
          StreamCall::Job{Attempts(options_, timers_), *inference_,
                          ToEncodeStreamRequest(documents, options), std::move(done)}));
      return;
    }
    StartUnary<EncodeReply>(&v1::InferenceService::Stub::async::Encode,
                            ToEncodeRequest(documents, options), std::move(done));
  }

  void Start(const std::vector<Document>& documents, const ClassifyOptions& options,
             ClassifyCallback done) {
    StartUnary<ClassifyReply>(&v1::InferenceService::Stub::async::Classify,
                              ToClassifyRequest(documents, options), std::move(done));
  }

  template <typename Reply, typename Request, typename Response, typename Done>
  void StartUnary(void (v1::InferenceService::Stub::async::*method)(
                      grpc::ClientContext*, const Request*, Response*,
                      std::function<void(grpc::Status)>),
                  Request request, Done done) {
    (new UnaryCall<Request, Response, Reply>(Attempts(options_, timers_), *inference_, method,
                                             std::move(request), std::move(done)))
        ->Start();
  }

  const Options options_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::InferenceService::Stub> inference_;
  const std::unique_ptr<v1::ModelService::Stub> models_;
  const std::unique_ptr<grpc::health::v1::Health::Stub> health_;
  const std::shared_ptr<RetryTimers> timers_ = std::make_shared<RetryTimers>();
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
  if (max_busy_attempts < 1 || max_busy_attempts > 100) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_busy_attempts is ", max_busy_attempts, ", expected 1 to 100"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Client>> Client::Create(const Options& options) {
  absl::Status status = options.Validate();
  if (!status.ok()) return status;
  return std::make_unique<GrpcClient>(options);
}

}  // namespace longwave::client
