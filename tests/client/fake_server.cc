#include "tests/client/fake_server.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>
#include <grpcpp/health_check_service_interface.h>

#include <algorithm>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace longwave::client {
namespace {

constexpr int kVersion = 2;

struct Content {
  int64_t size;
  int64_t first;
  bool bad;
};

Content ContentOf(const v1::Input& input) {
  if (input.has_token_ids()) {
    const auto& ids = input.token_ids().ids();
    return {ids.size(), ids.empty() ? 0 : ids[0], false};
  }
  const std::string& data = input.has_text() ? input.text() : input.raw();
  return {static_cast<int64_t>(data.size()), data.empty() ? 0 : data[0],
          absl::StartsWith(data, "bad")};
}

template <typename Result>
void SetBad(Result* result) {
  result->mutable_status()->set_code(grpc::StatusCode::INVALID_ARGUMENT);
  result->mutable_status()->set_message("a bad document");
}

// The numbers as float32, float16 or bfloat16 bytes; the halves are exact for the small integers
// that are used here.
void AppendNumber(float value, v1::EmbeddingType type, std::string* data) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (type == v1::EMBEDDING_TYPE_FLOAT16 && value != 0) {
    const uint32_t exponent = ((bits >> 23) & 0xff) - 127 + 15;
    const uint16_t half = static_cast<uint16_t>((exponent << 10) | ((bits >> 13) & 0x3ff));
    data->append(reinterpret_cast<const char*>(&half), 2);
  } else if (type == v1::EMBEDDING_TYPE_FLOAT16 || type == v1::EMBEDDING_TYPE_BFLOAT16) {
    const auto upper = static_cast<uint16_t>(bits >> 16);
    data->append(reinterpret_cast<const char*>(&upper), 2);
  } else {
    data->append(reinterpret_cast<const char*>(&bits), 4);
  }
}

void AppendRow(const Content& content, int64_t last, v1::Embedding* embedding) {
  for (const int64_t value : {content.size, content.first, last}) {
    AppendNumber(static_cast<float>(value), embedding->type(), embedding->mutable_data());
  }
}

v1::ModelInfo ToyModel(int version) {
  v1::ModelInfo info;
  info.set_name("toy");
  info.set_version(version);
  info.set_hidden_size(3);
  info.set_vocab_size(256);
  info.set_max_length(1000);
  info.set_parameters(1234567);
  info.set_tokenizer("byte");
  info.set_pooling("mean");
  info.set_device("cpu");
  info.set_feature_map("prf");
  info.add_tasks("encode");
  info.add_tasks("classify");
  v1::ClassificationHead* head = info.add_heads();
  head->set_name("size");
  head->add_labels("short");
  head->add_labels("long");
  return info;
}

}  // namespace

class FakeServer::Inference final : public v1::InferenceService::Service {
 public:
  grpc::Status Encode(grpc::ServerContext* context, const v1::EncodeRequest* request,
                      v1::EncodeResponse* response) override {
    grpc::Status status = Enter(*context, request->inputs_size());
    if (!status.ok()) return status;
    const v1::EmbeddingType type = request->options().format().type();
    for (const v1::Input& input : request->inputs()) {
      const Content content = ContentOf(input);
      v1::EncodeResult* result = response->add_results();
      if (content.bad) {
        SetBad(result);
        continue;
      }
      result->mutable_embedding()->set_type(type);
      result->mutable_embedding()->add_shape(3);
      AppendRow(content, 1, result->mutable_embedding());
      result->set_tokens(content.size);
    }
    Finish(response);
    absl::MutexLock lock(&mutex_);
    last_options_ = request->options();
    return grpc::Status::OK;
  }

  grpc::Status EncodeStream(grpc::ServerContext* context, const v1::EncodeStreamRequest* request,
                            grpc::ServerWriter<v1::EncodeStreamResponse>* writer) override {
    grpc::Status status = Enter(*context, request->inputs_size());
    if (!status.ok()) return status;
    // From the last input to the first: the order of the inputs is not promised.
    for (int index = request->inputs_size() - 1; index >= 0; --index) {
      const Content content = ContentOf(request->inputs(index));
      for (int64_t row = 0; row < std::max<int64_t>(content.size, 1); ++row) {
        v1::EncodeStreamResponse chunk;
        chunk.set_input_index(index);
        chunk.set_row_offset(row);
        chunk.set_total_rows(content.size);
        if (content.bad) {
          SetBad(&chunk);
        } else {
          chunk.mutable_rows()->set_type(request->options().format().type());
          chunk.mutable_rows()->add_shape(1);
          chunk.mutable_rows()->add_shape(3);
          AppendRow(content, row, chunk.mutable_rows());
        }
        chunk.set_last(content.bad || row + 1 == content.size);
        if (chunk.last()) {
          chunk.mutable_usage()->set_tokens(content.bad ? 0 : content.size);
          chunk.mutable_usage()->set_inputs(content.bad ? 0 : 1);
          chunk.mutable_model()->set_name("toy");
          chunk.mutable_model()->set_version(kVersion);
          chunk.mutable_timing()->set_total_ns(1000);
        }
        writer->Write(chunk);
        if (chunk.last()) break;
      }
    }
    Leave();
    return grpc::Status::OK;
  }

  grpc::Status Classify(grpc::ServerContext* context, const v1::ClassifyRequest* request,
                        v1::ClassifyResponse* response) override {
    grpc::Status status = Enter(*context, request->inputs_size());
    if (!status.ok()) return status;
    for (const v1::Input& input : request->inputs()) {
      const Content content = ContentOf(input);
      v1::ClassifyResult* result = response->add_results();
      if (content.bad) {
        SetBad(result);
        continue;
      }
      const int best = content.size >= 10 ? 1 : 0;
      const int count = request->top_k() == 0 ? 2 : std::min(request->top_k(), 2);
      for (int rank = 0; rank < count; ++rank) {
        v1::LabelScore* score = result->add_labels();
        score->set_index(rank == 0 ? best : 1 - best);
        score->set_label(score->index() == 1 ? "long" : "short");
        score->set_probability(rank == 0 ? 0.75f : 0.25f);
      }
      result->set_tokens(content.size);
    }
    Finish(response);
    return grpc::Status::OK;
  }

  void FailNext(int count, grpc::Status status) {
    absl::MutexLock lock(&mutex_);
    failures_ = count;
    failure_ = std::move(status);
  }

  void set_drop_last_result() {
    absl::MutexLock lock(&mutex_);
    drop_last_ = true;
  }

  void set_hold(bool hold) {
    absl::MutexLock lock(&mutex_);
    hold_ = hold;
  }

  void WaitUntilInside(int count) {
    absl::MutexLock lock(&mutex_);
    const auto reached = [this, count]()
                             ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return inside_ >= count; };
    mutex_.Await(absl::Condition(&reached));
  }

  int requests() const {
    absl::MutexLock lock(&mutex_);
    return static_cast<int>(documents_.size());
  }
  int most_inside() const {
    absl::MutexLock lock(&mutex_);
    return most_inside_;
  }
  v1::EncodeOptions last_options() const {
    absl::MutexLock lock(&mutex_);
    return last_options_;
  }
  std::vector<int> documents() const {
    absl::MutexLock lock(&mutex_);
    return documents_;
  }

 private:
  // Waits while requests are held, then answers with a failure that was asked for.
  grpc::Status Enter(const grpc::ServerContext&, int documents) {
    absl::MutexLock lock(&mutex_);
    documents_.push_back(documents);
    most_inside_ = std::max(most_inside_, ++inside_);
    const auto released = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !hold_; };
    mutex_.Await(absl::Condition(&released));
    if (failures_ == 0) return grpc::Status::OK;
    --failures_;
    --inside_;
    return failure_;
  }

  void Leave() {
    absl::MutexLock lock(&mutex_);
    --inside_;
  }

  template <typename Response>
  void Finish(Response* response) {
    for (const auto& result : response->results()) {
      response->mutable_usage()->set_tokens(response->usage().tokens() + result.tokens());
      response->mutable_usage()->set_inputs(response->usage().inputs() +
                                            (result.status().code() == 0 ? 1 : 0));
    }
    response->mutable_model()->set_name("toy");
    response->mutable_model()->set_version(kVersion);
    response->mutable_timing()->set_total_ns(1000);
    absl::MutexLock lock(&mutex_);
    if (drop_last_) response->mutable_results()->RemoveLast();
    --inside_;
  }

  mutable absl::Mutex mutex_;
  std::vector<int> documents_ ABSL_GUARDED_BY(mutex_);
  v1::EncodeOptions last_options_ ABSL_GUARDED_BY(mutex_);
  grpc::Status failure_ ABSL_GUARDED_BY(mutex_);
  int failures_ ABSL_GUARDED_BY(mutex_) = 0;
  int inside_ ABSL_GUARDED_BY(mutex_) = 0;
  int most_inside_ ABSL_GUARDED_BY(mutex_) = 0;
  bool hold_ ABSL_GUARDED_BY(mutex_) = false;
  bool drop_last_ ABSL_GUARDED_BY(mutex_) = false;
};

class FakeServer::Models final : public v1::ModelService::Service {
 public:
  grpc::Status ListModels(grpc::ServerContext*, const v1::ListModelsRequest*,
                          v1::ListModelsResponse* response) override {
    *response->add_models() = ToyModel(1);
    *response->add_models() = ToyModel(kVersion);
    return grpc::Status::OK;
  }

  grpc::Status GetModel(grpc::ServerContext*, const v1::GetModelRequest* request,
                        v1::GetModelResponse* response) override {
    if (request->name() != "toy") {
      return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no model '", request->name(), "'")};
    }
    *response->mutable_model() = ToyModel(kVersion);
    return grpc::Status::OK;
  }

  grpc::Status PlanAttention(grpc::ServerContext*, const v1::PlanAttentionRequest* request,
                             v1::PlanAttentionResponse* response) override {
    if (request->name() != "toy") {
      return {grpc::StatusCode::NOT_FOUND, absl::StrCat("no model '", request->name(), "'")};
    }
    v1::AttentionPlan* plan = response->add_plans();
    for (const int layer : {0, 1, 2, 5}) plan->add_layers(layer);
    plan->add_heads(0);
    *plan->mutable_lengths() = request->lengths();
    plan->set_algorithm("structured");
    plan->set_reason("fastest");
    plan->set_error_bound(1e-6);
    plan->set_predicted_ms(12.5);
    return grpc::Status::OK;
  }
};

FakeServer::FakeServer()
    : inference_(std::make_unique<Inference>()), models_(std::make_unique<Models>()) {
  grpc::EnableDefaultHealthCheckService(true);
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(inference_.get());
  builder.RegisterService(models_.get());
  server_ = builder.BuildAndStart();
  address_ = absl::StrCat("127.0.0.1:", port);
}

FakeServer::~FakeServer() { Stop(); }

void FakeServer::Stop() {
  Release();
  server_->Shutdown();
  server_->Wait();
}

void FakeServer::SetNotServing() {
  server_->GetHealthCheckService()->SetServingStatus(/*serving=*/false);
}

void FakeServer::FailNext(int count, grpc::Status status) {
  inference_->FailNext(count, std::move(status));
}
void FakeServer::RefuseNext(int count, absl::Duration delay) {
  google::rpc::RetryInfo info;
  info.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(delay));
  info.mutable_retry_delay()->set_nanos(
      static_cast<int>(absl::ToInt64Nanoseconds(delay % absl::Seconds(1))));
  google::rpc::Status details;
  details.set_code(grpc::StatusCode::RESOURCE_EXHAUSTED);
  details.add_details()->PackFrom(info);
  FailNext(count, {grpc::StatusCode::RESOURCE_EXHAUSTED, "no room", details.SerializeAsString()});
}

void FakeServer::DropLastResult() { inference_->set_drop_last_result(); }
void FakeServer::Hold() { inference_->set_hold(true); }
void FakeServer::Release() { inference_->set_hold(false); }
void FakeServer::WaitUntilInside(int count) { inference_->WaitUntilInside(count); }
int FakeServer::requests() const { return inference_->requests(); }
int FakeServer::most_inside() const { return inference_->most_inside(); }
v1::EncodeOptions FakeServer::last_encode_options() const { return inference_->last_options(); }
std::vector<int> FakeServer::documents_per_request() const { return inference_->documents(); }

}  // namespace longwave::client
