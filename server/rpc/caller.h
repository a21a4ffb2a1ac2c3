#ifndef LONGWAVE_SERVER_RPC_CALLER_H_
#define LONGWAVE_SERVER_RPC_CALLER_H_

#include <grpcpp/server_context.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/batching/work_item.h"
#include "server/rpc/client_weights.h"

namespace longwave {

// Metadata keys that say who sends a request and how urgent it is (inference.proto).
inline constexpr char kApiKeyMetadata[] = "x-api-key";
inline constexpr char kAuthorizationMetadata[] = "authorization";
inline constexpr char kPriorityMetadata[] = "x-longwave-priority";

// Who sends a request, as far as sharing the device is concerned. Nobody is authenticated here.
struct Caller {
  // A hash of who it is, as IdentifyClient() says. Differs from one process to the next.
  uint64_t client = 0;
  Priority priority = Priority::kNormal;
};

// INVALID_ARGUMENT for a priority that there is not.
absl::StatusOr<Caller> ReadCaller(const grpc::ServerContextBase& context,
                                  const ClientWeights& weights);

// Caller::client of who sends these metadata, if any, from `peer`, a form of AddressOf(): the API
// key, else the authorization, else the address without its port. With named_keys_only() of
// `weights`, metadata that these do not name count as not sent.
uint64_t IdentifyClient(std::optional<absl::string_view> api_key,
                        std::optional<absl::string_view> authorization, const std::string& peer,
                        const ClientWeights& weights);

// "ipv4:10.0.0.1:5005" without its port; any other form as it is.
std::string AddressOf(const std::string& peer);

// Caller::client of who sends this under kApiKeyMetadata or kAuthorizationMetadata.
uint64_t ClientOfMetadata(absl::string_view key, absl::string_view value);

// Caller::client of who sends neither, from an IPv4 or IPv6 address such as "10.0.0.7" or
// "fd00::1". INVALID_ARGUMENT for anything else.
absl::StatusOr<uint64_t> ClientOfAddress(const std::string& address);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_CALLER_H_
