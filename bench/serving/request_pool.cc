#include "bench/serving/request_pool.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace longwave::bench {
namespace {

grpc::ByteBuffer Serialize(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

absl::Status StatusOf(const v1::ResultStatus& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.code()), status.message());
}

absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

// A request of another RPC with the same inputs.
template <typename Request>
Request WithInputs(const v1::EncodeStreamRequest& message) {
  Request request;
  *request.mutable_inputs() = message.inputs();
  return request;
}

std::vector<float> Floats(const v1::Embedding& embedding) {
  std::vector<float> values(embedding.data().size() / sizeof(float));
  std::memcpy(values.data(), embedding.data().data(), values.size() * sizeof(float));
  return values;
}

}  // namespace

absl::StatusOr<std::vector<std::vector<float>>> NumbersOf(const v1::EncodeResponse& response) {
  std::vector<std::vector<float>> numbers;
  for (const v1::EncodeResult& result : response.results()) {
    if (result.status().code() != 0) return StatusOf(result.status());
    numbers.push_back(Floats(result.embedding()));
  }
  return numbers;
}

absl::StatusOr<std::vector<std::vector<float>>> NumbersOf(const v1::ClassifyResponse& response) {
  std::vector<std::vector<float>> numbers;
  for (const v1::ClassifyResult& result : response.results()) {
    if (result.status().code() != 0) return StatusOf(result.status());
    // By index, so that labels of nearly the same probability may change places.
    std::vector<float> probabilities(result.labels_size());
    for (const v1::LabelScore& label : result.labels()) {
      if (label.index() >= 0 && label.index() < result.labels_size()) {
        probabilities[label.index()] = label.probability();
      }
    }
    numbers.push_back(std::move(probabilities));
  }
  return numbers;
}

bool SameNumbers(absl::Span<const float> found, absl::Span<const float> expected,
                 double tolerance) {
  if (found.size() != expected.size()) return false;
  if (std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)) == 0) return true;
  float largest = 0;
  for (const float value : expected) largest = std::max(largest, std::abs(value));
  for (size_t i = 0; i < found.size(); ++i) {
    // Not "greater": a NaN is never the same.
    if (!(std::abs(found[i] - expected[i]) <= tolerance * largest)) return false;
  }
  return true;
}

RequestPool::RequestPool(const TrafficClass& traffic, int64_t vocab_size, uint64_t seed)
    : rpc_(traffic.rpc), requests_(traffic.pool) {
  std::mt19937_64 random(seed);
  std::uniform_int_distribution<uint32_t> id(0, static_cast<uint32_t>(vocab_size - 1));
  const std::vector<int64_t> lengths = DrawLengths(traffic, traffic.pool * traffic.inputs, seed);
  size_t next = 0;
  for (PreparedRequest& request : requests_) {
    for (int input = 0; input < traffic.inputs; ++input) {
      const int64_t length = lengths[next++];
      request.tokens += length;
      v1::TokenIds* ids = request.message.add_inputs()->mutable_token_ids();
      ids->mutable_ids()->Reserve(static_cast<int>(length));
      for (int64_t i = 0; i < length; ++i) ids->add_ids(id(random));
    }
    if (rpc_ == LoadRpc::kEncode) {
      request.bytes = Serialize(WithInputs<v1::EncodeRequest>(request.message));
    } else if (rpc_ == LoadRpc::kClassify) {
      request.bytes = Serialize(WithInputs<v1::ClassifyRequest>(request.message));
    }
  }
}

absl::Status RequestPool::LearnAnswers(v1::InferenceService::Stub& stub) {
  for (PreparedRequest& request : requests_) {
    grpc::ClientContext context;
    grpc::Status status;
    absl::StatusOr<std::vector<std::vector<float>>> numbers;
    if (rpc_ == LoadRpc::kClassify) {
      v1::ClassifyResponse response;
      status = stub.Classify(&context, WithInputs<v1::ClassifyRequest>(request.message), &response);
      numbers = NumbersOf(response);
    } else {
      v1::EncodeResponse response;
      status = stub.Encode(&context, WithInputs<v1::EncodeRequest>(request.message), &response);
      numbers = NumbersOf(response);
    }
    if (!status.ok()) return ToStatus(status);
    if (!numbers.ok()) return numbers.status();
    request.answer = *std::move(numbers);
  }
  return absl::OkStatus();
}

bool RequestPool::AnswersDiffer() const {
  std::set<std::vector<std::vector<float>>> answers;
  for (const PreparedRequest& request : requests_) answers.insert(request.answer);
  return answers.size() == requests_.size();
}

}  // namespace longwave::bench
