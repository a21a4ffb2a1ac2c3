#include "client/from_grpc.h"

#include <google/rpc/status.pb.h>

#include "absl/strings/cord.h"

namespace longwave::client {

absl::Status FromGrpc(const grpc::Status& status) {
  // The codes of gRPC and Abseil are the same numbers.
  absl::Status result(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status details;
  if (!result.ok() && details.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& detail : details.details()) {
      result.SetPayload(detail.type_url(), absl::Cord(detail.value()));
    }
  }
  return result;
}

}  // namespace longwave::client
