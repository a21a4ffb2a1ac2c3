#ifndef LONGWAVE_BENCH_SERVING_LOAD_CALL_H_
#define LONGWAVE_BENCH_SERVING_LOAD_CALL_H_

#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "bench/serving/class_stats.h"
#include "bench/serving/request_pool.h"
#include "bench/serving/traffic.h"
#include "longwave/v1/inference.grpc.pb.h"

namespace longwave::bench {

using TimePoint = std::chrono::steady_clock::time_point;

// One connection.
struct Connection {
  std::shared_ptr<grpc::Channel> channel;
  std::unique_ptr<grpc::GenericStub> generic;
  std::unique_ptr<v1::InferenceService::Stub> stub;
};

// What a call found out; valid once it has ended.
struct CallResult {
  grpc::StatusCode code = grpc::StatusCode::OK;  // of the RPC, or of the first input that failed
  bool right = false;                            // OK and the expected answer
  int64_t duplicated = 0;                        // rows that had come before
  v1::Timing timing;                             // the server's
};

// One request under way. It is the tag of its own events. Thread-compatible: events come one after
// the other.
class LoadCall {
 public:
  // `caller` names who sent it, for the driver. `due` is when it should have been sent.
  LoadCall(const PreparedRequest& request, int traffic_class, int caller, TimePoint due)
      : request_(request), traffic_class_(traffic_class), caller_(caller), due_(due) {}
  virtual ~LoadCall() = default;

  // Sends the request; the call's events go to `queue`. `deadline` is the RPC's.
  virtual void Start(const Connection& connection, grpc::CompletionQueue* queue,
                     const std::string& key, std::chrono::system_clock::time_point deadline) = 0;

  // The next event of this call. True when the call has ended and may be deleted.
  virtual bool OnEvent(bool ok) = 0;

  // Judges the answer, which may differ by `tolerance`: see SameNumbers().
  virtual CallResult Result(double tolerance) = 0;

  const PreparedRequest& request() const { return request_; }
  int traffic_class() const { return traffic_class_; }
  int caller() const { return caller_; }
  TimePoint due() const { return due_; }

 private:
  const PreparedRequest& request_;
  const int traffic_class_;
  const int caller_;
  const TimePoint due_;
};

// A call of the RPC.
std::unique_ptr<LoadCall> NewLoadCall(LoadRpc rpc, const PreparedRequest& request,
                                      int traffic_class, int caller, TimePoint due);

}  // namespace longwave::bench

#endif  // LONGWAVE_BENCH_SERVING_LOAD_CALL_H_
