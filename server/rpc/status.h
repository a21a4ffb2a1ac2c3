#ifndef LONGWAVE_SERVER_RPC_STATUS_H_
#define LONGWAVE_SERVER_RPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"
#include "longwave/v1/inference.pb.h"

// The one place where the server's statuses become the wire's. absl::StatusCode and
// grpc::StatusCode share their numbers.
namespace longwave {

// What RetryDelay() says travels as google.rpc.RetryInfo in the status's details.
grpc::Status ToGrpcStatus(const absl::Status& status);

v1::ResultStatus ToResultStatus(const absl::Status& status);

// Whether a status of one item speaks of its whole request: it left the queue, with all that still
// waited of the request.
bool ConcernsWholeRequest(const absl::Status& status);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_STATUS_H_
