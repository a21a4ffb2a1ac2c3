#ifndef LONGWAVE_BENCH_SERVING_REQUEST_POOL_H_
#define LONGWAVE_BENCH_SERVING_REQUEST_POOL_H_

#include <grpcpp/support/byte_buffer.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "bench/serving/traffic.h"
#include "longwave/v1/inference.grpc.pb.h"

namespace longwave::bench {

// A request that is sent many times, ready for the wire, and its answer.
struct PreparedRequest {
  v1::EncodeStreamRequest message;         // its inputs are those of every RPC
  grpc::ByteBuffer bytes;                  // the message of a unary RPC
  int64_t tokens = 0;                      // of all inputs
  std::vector<std::vector<float>> answer;  // per input; empty: not known
};

// Requests of one class with random token ids.
class RequestPool {
 public:
  // For a model of `vocab_size` ids.
  RequestPool(const TrafficClass& traffic, int64_t vocab_size, uint64_t seed);

  // Asks the server for each answer, one request at a time, so that no batch is shared. Blocks. An
  // error of the server, or a wrong shape of the answer.
  absl::Status LearnAnswers(v1::InferenceService::Stub& stub);

  // Whether all known answers differ, so that an answer to another request would be noticed.
  bool AnswersDiffer() const;

  const std::vector<PreparedRequest>& requests() const { return requests_; }

 private:
  const LoadRpc rpc_;
  std::vector<PreparedRequest> requests_;
};

// The numbers of an answer, per input, or the first error that an input has.
absl::StatusOr<std::vector<std::vector<float>>> NumbersOf(const v1::EncodeResponse& response);
absl::StatusOr<std::vector<std::vector<float>>> NumbersOf(const v1::ClassifyResponse& response);

// What the server promises of float32 answers, whatever batch a request was part of, as a part of
// the largest absolute value of the row.
inline constexpr double kFloat32Tolerance = 1e-5;

// Whether no element of `found` is further from `expected` than `tolerance` times the largest
// absolute value of `expected`.
bool SameNumbers(absl::Span<const float> found, absl::Span<const float> expected,
                 double tolerance = kFloat32Tolerance);

}  // namespace longwave::bench

#endif  // LONGWAVE_BENCH_SERVING_REQUEST_POOL_H_
