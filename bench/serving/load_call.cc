#include "bench/serving/load_call.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace longwave::bench {
namespace {

using Numbers = std::vector<std::vector<float>>;

void Prepare(grpc::ClientContext& context, const std::string& key,
             std::chrono::system_clock::time_point deadline) {
  context.set_deadline(deadline);
  if (!key.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", key));
}

void Judge(const absl::StatusOr<Numbers>& found, const PreparedRequest& request, double tolerance,
           CallResult& result) {
  if (!found.ok()) {
    result.code = static_cast<grpc::StatusCode>(found.status().code());
    return;
  }
  result.right = found->size() == request.answer.size() &&
                 std::equal(found->begin(), found->end(), request.answer.begin(),
                            [tolerance](const auto& row, const auto& expected) {
                              return SameNumbers(row, expected, tolerance);
                            });
}

// A unary RPC whose request was serialized beforehand.
template <typename Response>
class UnaryLoadCall final : public LoadCall {
 public:
  UnaryLoadCall(const char* method, const PreparedRequest& request, int traffic_class, int caller,
                TimePoint due)
      : LoadCall(request, traffic_class, caller, due), method_(method) {}

  void Start(const Connection& connection, grpc::CompletionQueue* queue, const std::string& key,
             std::chrono::system_clock::time_point deadline) override {
    Prepare(context_, key, deadline);
    reader_ = connection.generic->PrepareUnaryCall(&context_, method_, request().bytes, queue);
    reader_->StartCall();
    reader_->Finish(&response_, &status_, this);
  }

  bool OnEvent(bool /*ok*/) override { return true; }

  CallResult Result(double tolerance) override {
    CallResult result;
    result.code = status_.error_code();
    if (!status_.ok()) return result;
    thread_local Response response;  // keeps its memory from call to call
    if (!grpc::GenericDeserialize<grpc::ProtoBufferReader, Response>(&response_, &response).ok()) {
      result.code = grpc::StatusCode::INTERNAL;
      return result;
    }
    Judge(NumbersOf(response), request(), tolerance, result);
    result.timing = response.timing();
    return result;
  }

 private:
  const std::string method_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader_;
  grpc::ByteBuffer response_;
  grpc::Status status_;
};

// EncodeStream: puts the rows together, each exactly once.
class StreamLoadCall final : public LoadCall {
 public:
  using LoadCall::LoadCall;

  void Start(const Connection& connection, grpc::CompletionQueue* queue, const std::string& key,
             std::chrono::system_clock::time_point deadline) override {
    Prepare(context_, key, deadline);
    rows_.resize(request().message.inputs_size());
    closed_.resize(rows_.size());
    reader_ = connection.stub->PrepareAsyncEncodeStream(&context_, request().message, queue);
    reader_->StartCall(this);
  }

  bool OnEvent(bool ok) override {
    switch (state_) {
      case State::kStarting:
        state_ = State::kReading;
        break;
      case State::kReading:
        if (ok) AddChunk();
        break;
      case State::kFinishing:
        return true;
    }
    if (ok) {
      reader_->Read(&chunk_, this);
    } else {
      state_ = State::kFinishing;
      reader_->Finish(&status_, this);
    }
    return false;
  }

  CallResult Result(double tolerance) override {
    CallResult result;
    result.code = status_.error_code();
    result.duplicated = duplicated_;
    result.timing = timing_;
    if (!status_.ok()) return result;
    const bool complete = std::all_of(closed_.begin(), closed_.end(), [](bool c) { return c; });
    if (!failure_.ok()) {
      Judge(failure_, request(), tolerance, result);
    } else if (complete && duplicated_ == 0) {
      Judge(rows_, request(), tolerance, result);
    }
    return result;
  }

 private:
  enum class State { kStarting, kReading, kFinishing };

  void AddChunk() {
    const size_t input = static_cast<size_t>(chunk_.input_index());
    if (input >= rows_.size() || closed_[input]) {
      ++duplicated_;
      return;
    }
    if (chunk_.status().code() != 0 && failure_.ok()) {
      failure_ = absl::Status(static_cast<absl::StatusCode>(chunk_.status().code()), "");
    }
    const std::string& data = chunk_.rows().data();
    std::vector<float>& values = rows_[input];
    const size_t begin = values.size();
    values.resize(begin + data.size() / sizeof(float));
    std::memcpy(values.data() + begin, data.data(), data.size());
    if (chunk_.last()) {
      closed_[input] = true;
      timing_ = chunk_.timing();
    }
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReader<v1::EncodeStreamResponse>> reader_;
  State state_ = State::kStarting;
  v1::EncodeStreamResponse chunk_;
  Numbers rows_;              // per input, what has come of it
  std::vector<bool> closed_;  // per input, whether its last chunk has come
  absl::Status failure_;      // of the first input that failed
  int64_t duplicated_ = 0;
  v1::Timing timing_;
  grpc::Status status_;
};

}  // namespace

std::unique_ptr<LoadCall> NewLoadCall(LoadRpc rpc, const PreparedRequest& request,
                                      int traffic_class, int caller, TimePoint due) {
  switch (rpc) {
    case LoadRpc::kEncode:
      return std::make_unique<UnaryLoadCall<v1::EncodeResponse>>(
          "/longwave.v1.InferenceService/Encode", request, traffic_class, caller, due);
    case LoadRpc::kClassify:
      return std::make_unique<UnaryLoadCall<v1::ClassifyResponse>>(
          "/longwave.v1.InferenceService/Classify", request, traffic_class, caller, due);
    case LoadRpc::kEncodeStream:
      return std::make_unique<StreamLoadCall>(request, traffic_class, caller, due);
  }
  return nullptr;
}

}  // namespace longwave::bench
