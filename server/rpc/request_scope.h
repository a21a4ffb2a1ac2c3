#ifndef LONGWAVE_SERVER_RPC_REQUEST_SCOPE_H_
#define LONGWAVE_SERVER_RPC_REQUEST_SCOPE_H_

#include <grpcpp/server_context.h>

#include <cstdint>
#include <functional>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rpc/caller.h"
#include "server/rpc/model_catalog.h"
#include "server/rpc/service_context.h"

namespace longwave {

// The life of one request as the gate and the metrics see it. Created when it arrives; End() when
// its status is known; Leave() when gRPC has nothing more to do for it. Thread-compatible, except
// that Leave() may follow on another thread.
class RequestScope {
 public:
  // `context` gives the deadline and the caller; it is not kept.
  RequestScope(const ServiceContext& service, Rpc rpc, const grpc::CallbackServerContext& context);

  // UNAVAILABLE when the server is draining.
  absl::Status CheckAdmitted() const;

  // From when the model is known; before, the request counts for an unknown one.
  void set_model(const ServedModel& model) { metrics_ = model.metrics; }
  ModelMetrics& metrics() { return *metrics_; }

  // Holds the bytes of the request's message until Leave(). RESOURCE_EXHAUSTED when the requests
  // inside hold too many. At most once, when admitted.
  absl::Status HoldBytes(int64_t bytes);

  // INVALID_ARGUMENT for metadata that cannot be understood.
  const absl::StatusOr<Caller>& caller() const { return caller_; }

  // A group without items yet, with the deadline and what the caller is entitled to; caller() must
  // be OK.
  WorkGroup NewGroup() const;
  absl::Duration elapsed() const { return service_.clock->Now() - arrival_; }

  // Counts the request. Called exactly once, before the status is sent, so that a client that has
  // its answer sees it counted. Returns what to send: LogIfInternal(status).
  absl::Status End(const absl::Status& status);

  // Logs an INTERNAL error, of the request or of one of its inputs, under the request's number.
  // Returns the status with that number added, so that a client can name it; any other as it is.
  absl::Status LogIfInternal(const absl::Status& status) const;

  // What a request that gRPC cancelled ends with: its deadline passed, or the client gave up.
  absl::Status CancelledStatus() const;

  void Leave();

 private:
  const ServiceContext& service_;
  const Rpc rpc_;
  const uint64_t id_;
  const absl::Time arrival_;
  const absl::Time deadline_;
  const bool admitted_;
  const absl::StatusOr<Caller> caller_;
  int64_t held_bytes_ = 0;
  ModelMetrics* metrics_;
};

// Runs `step` and turns what it throws into a status: RESOURCE_EXHAUSTED when out of memory, else
// INTERNAL.
absl::Status CatchExceptions(const std::function<absl::Status()>& step);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_REQUEST_SCOPE_H_
