#include "client/channel.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace longwave::client {
namespace {

constexpr int kDefaultPort = 8470;

// RESOURCE_EXHAUSTED is left out: a busy server says when to come again, which BusyRetry heeds.
std::string ServiceConfig(int max_attempts) {
  if (max_attempts == 1) return "{}";
  return absl::StrFormat(
      R"({"methodConfig": [{
        "name": [{"service": "longwave.v1.InferenceService"}],
        "retryPolicy": {
          "maxAttempts": %d,
          "initialBackoff": "0.2s",
          "maxBackoff": "5s",
          "backoffMultiplier": 3,
          "retryableStatusCodes": ["UNAVAILABLE"]
        }}]})",
      max_attempts);
}

}  // namespace

std::string WithPort(const std::string& server) {
  const size_t bracket = server.rfind(']');
  const size_t colon = server.find(':', bracket == std::string::npos ? 0 : bracket);
  if (colon == std::string::npos) return absl::StrCat(server, ":", kDefaultPort);
  return colon == server.size() - 1 ? absl::StrCat(server, kDefaultPort) : server;
}

std::shared_ptr<grpc::Channel> CreateChannel(const std::string& server, int64_t max_message_bytes,
                                             int max_attempts) {
  const int message_bytes = static_cast<int>(max_message_bytes);
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(message_bytes);
  arguments.SetMaxSendMessageSize(message_bytes);
  arguments.SetServiceConfigJSON(ServiceConfig(max_attempts));
  // A request stays in memory until it can no longer be retried.
  arguments.SetInt(GRPC_ARG_PER_RPC_RETRY_BUFFER_SIZE, message_bytes);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(WithPort(server), grpc::InsecureChannelCredentials(), arguments);
}

}  // namespace longwave::client
