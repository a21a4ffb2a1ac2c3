#include "server/rpc/status.h"

#include <google/rpc/error_details.pb.h>
#include <google/rpc/status.pb.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "server/batching/retry_delay.h"

namespace longwave {
namespace {

// What the trailer grpc-status-details-bin holds.
std::string RetryDetails(const absl::Status& status, absl::Duration delay) {
  google::rpc::RetryInfo info;
  const absl::Duration seconds = absl::Floor(delay, absl::Seconds(1));
  info.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(seconds));
  info.mutable_retry_delay()->set_nanos(
      static_cast<int32_t>(absl::ToInt64Nanoseconds(delay - seconds)));
  google::rpc::Status details;
  details.set_code(static_cast<int>(status.code()));
  details.set_message(std::string(status.message()));
  details.add_details()->PackFrom(info);
  return details.SerializeAsString();
}

}  // namespace

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  std::string message(status.message());
  const std::optional<absl::Duration> delay = RetryDelay(status);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), std::move(message),
                      delay.has_value() ? RetryDetails(status, *delay) : "");
}

v1::ResultStatus ToResultStatus(const absl::Status& status) {
  v1::ResultStatus result;
  result.set_code(static_cast<int>(status.code()));
  result.set_message(std::string(status.message()));
  return result;
}

bool ConcernsWholeRequest(const absl::Status& status) {
  return absl::IsDeadlineExceeded(status) || absl::IsCancelled(status) ||
         absl::IsUnavailable(status);
}

}  // namespace longwave
