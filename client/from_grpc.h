#ifndef LONGWAVE_CLIENT_FROM_GRPC_H_
#define LONGWAVE_CLIENT_FROM_GRPC_H_

// Internal: include from .cc files only.

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace longwave::client {

// Payload of a status: a serialised google.rpc.RetryInfo.
inline constexpr char kRetryInfoType[] = "type.googleapis.com/google.rpc.RetryInfo";

// The same code and message; what the details hold becomes payloads, by their types.
absl::Status FromGrpc(const grpc::Status& status);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_FROM_GRPC_H_
