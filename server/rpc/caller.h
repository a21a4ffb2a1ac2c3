#ifndef LONGWAVE_SERVER_RPC_CALLER_H_
#define LONGWAVE_SERVER_RPC_CALLER_H_

#include <grpcpp/server_context.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/batching/work_item.h"

namespace longwave {

// Metadata keys that say who sends a request and how urgent it is (inference.proto).
inline constexpr char kApiKeyMetadata[] = "x-api-key";
inline constexpr char kAuthorizationMetadata[] = "authorization";
inline constexpr char kPriorityMetadata[] = "x-longwave-priority";

// Who sends a request, as far as sharing the device is concerned. Nobody is authenticated here.
struct Caller {
  // A hash of the API key, else of the authorization, else of the address without its port. Differs
  // from one process to the next.
  uint64_t client = 0;
  Priority priority = Priority::kNormal;
};

// INVALID_ARGUMENT for a priority that there is not.
absl::StatusOr<Caller> ReadCaller(const grpc::ServerContextBase& context);

// "ipv4:10.0.0.1:5005" without its port; any other form as it is.
std::string AddressOf(const std::string& peer);

// Caller::client of who sends this under kApiKeyMetadata or kAuthorizationMetadata.
uint64_t ClientOfMetadata(absl::string_view key, absl::string_view value);

// Caller::client of who sends neither, from an IPv4 or IPv6 address such as "10.0.0.7" or "fd00::1".
// INVALID_ARGUMENT for anything else.
absl::StatusOr<uint64_t> ClientOfAddress(const std::string& address);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_CALLER_H_
