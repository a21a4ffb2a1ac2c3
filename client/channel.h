#ifndef LONGWAVE_CLIENT_CHANNEL_H_
#define LONGWAVE_CLIENT_CHANNEL_H_

// Internal: include from .cc files only.

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <string>

namespace longwave::client {

// "host" and "host:" become "host:8470"; what names a port is left alone. IPv6 addresses stand in
// brackets.
std::string WithPort(const std::string& server);

// A plaintext channel that connects at the first call. Calls of InferenceService that end as
// UNAVAILABLE are attempted up to `max_attempts` times, waiting a random part of an exponential
// back-off in between; other services are called once. The arguments are those of Client::Options.
std::shared_ptr<grpc::Channel> CreateChannel(const std::string& server, int64_t max_message_bytes,
                                             int max_attempts);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CHANNEL_H_
