#include "server/rpc/request_scope.h"

#include <spdlog/spdlog.h>

#include <atomic>
#include <chrono>
#include <exception>
#include <new>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/batching/retry_delay.h"

namespace longwave {
namespace {

uint64_t NextRequestId() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1, std::memory_order_relaxed) + 1;
}

// gRPC speaks of the system's clock, which may be set at any time; only what remains until then is
// carried over.
absl::Time ToDeadline(std::chrono::system_clock::time_point deadline, absl::Time now) {
  if (deadline == std::chrono::system_clock::time_point::max()) return absl::InfiniteFuture();
  return now + absl::FromChrono(deadline - std::chrono::system_clock::now());
}

}  // namespace

RequestScope::RequestScope(const ServiceContext& service, Rpc rpc,
                           const grpc::CallbackServerContext& context)
    : service_(service),
      rpc_(rpc),
      id_(NextRequestId()),
      arrival_(service.clock->Now()),
      deadline_(ToDeadline(context.deadline(), arrival_)),
      admitted_(service.gate->TryEnter()),
      caller_(ReadCaller(context, *service.weights)),
      metrics_(service.metrics->unknown_model()) {
  service_.metrics->OnRequestStart();
}

absl::Status RequestScope::CheckAdmitted() const {
  if (admitted_) return absl::OkStatus();
  return absl::UnavailableError("the server is draining; try another one");
}

absl::Status RequestScope::HoldBytes(int64_t bytes) {
  absl::Status status = service_.gate->TryHold(bytes);
  if (status.ok()) held_bytes_ = bytes;
  return status;
}

WorkGroup RequestScope::NewGroup() const {
  WorkGroup group;
  group.deadline = deadline_;
  group.client = caller_->client;
  group.weight = service_.weights->Of(group.client);
  group.priority = caller_->priority;
  return group;
}

absl::Status RequestScope::End(const absl::Status& status) {
  metrics_->OnRequestDone(rpc_, status.code(), elapsed());
  service_.metrics->OnRequestEnd();
  return LogIfInternal(status);
}

absl::Status RequestScope::LogIfInternal(const absl::Status& status) const {
  if (!absl::IsInternal(status)) return status;
  spdlog::error("request {}: {}", id_, std::string(status.message()));
  return absl::InternalError(absl::StrCat(status.message(), " (request ", id_, ")"));
}

absl::Status RequestScope::CancelledStatus() const {
  if (service_.clock->Now() >= deadline_) {
    return absl::DeadlineExceededError("the deadline passed; the result was dropped");
  }
  return absl::CancelledError("cancelled by the client");
}

void RequestScope::Leave() {
  if (admitted_) service_.gate->Leave(held_bytes_, elapsed());
}

absl::Status CatchExceptions(const std::function<absl::Status()>& step) {
  try {
    return step();
  } catch (const std::bad_alloc&) {
    return BusyError("the server is out of memory", kUnknownRetryDelay);
  } catch (const std::exception& e) {
    return absl::InternalError(absl::StrCat("unexpected failure: ", e.what()));
  } catch (...) {
    return absl::InternalError("unexpected failure");
  }
}

}  // namespace longwave
