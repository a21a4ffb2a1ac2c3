#ifndef LONGWAVE_CLIENT_CLIENT_H_
#define LONGWAVE_CLIENT_CLIENT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/types.h"

namespace longwave::client {

// A connection to a Longwave server.
//
//   auto client = longwave::client::Client::Create({.server = "localhost:8470"});
//   auto reply = (*client)->Classify({Document::Text("hello")}, {.top_k = 3});
//
// One call is one request: Encode and Classify fail as a whole only when nothing could be served
// (no such model, server gone, deadline passed); a document that is refused has its own status in
// the reply. The size of a request is bounded by Options::max_message_bytes; RequestPacker
// (client/request_packer.h) cuts a long list of documents into requests that fit.
//
// Statuses are those of the wire (proto/longwave/v1/inference.proto) with the server's message.
// UNAVAILABLE also means that nothing answers at the address. Encode and Classify retry UNAVAILABLE
// within the deadline, Options::max_attempts attempts in all; the others do not, so they tell
// quickly that nobody is there. A server that is too busy says when there will be room: Encode and
// Classify wait for that and try again, Options::max_busy_attempts attempts in all, unless that
// would be after half of Options::timeout or the server asks for more than a minute. Then they end
// with RESOURCE_EXHAUSTED, whose RetryDelay() (client/retry.h) is the last delay that the server
// asked for. RESOURCE_EXHAUSTED without one is not retried: a message over the server's limit stays
// over it.
//
// Thread-safe.
class Client {
 public:
  struct Options {
    // host:port of the server; ":8470" is added when there is no port. IPv6 addresses stand in
    // brackets. Connected directly, whatever HTTP proxy the environment names, and without TLS.
    std::string server = "localhost:8470";

    // Deadline of one request, from its start to its last byte, retries included. Positive;
    // InfiniteDuration for none.
    absl::Duration timeout = absl::Seconds(120);

    // Asynchronous requests that may be under way at once; the next one blocks its caller. At
    // least 1.
    int max_in_flight = 8;

    // Largest request and largest response message, in bytes; the server has a limit of its own (64
    // MiB by default).
    int64_t max_message_bytes = int64_t{64} << 20;

    // Attempts per request that the server is UNAVAILABLE for, 1 (no retries) to 5.
    int max_attempts = 4;

    // Attempts per request that the server has no room for, 1 (no retries) to 100.
    int max_busy_attempts = 10;

    absl::Status Validate() const;
  };

  // Does not block and does not connect: the first call does. INVALID_ARGUMENT for options that can
  // never work.
  static absl::StatusOr<std::unique_ptr<Client>> Create(const Options& options);

  // Blocks until every asynchronous request has called back. Those that wait for a busy server end
  // at once, with its RESOURCE_EXHAUSTED.
  virtual ~Client() = default;

  // One embedding per document. Blocks. Pooling::kNone is served by the streaming RPC, so its
  // result may be of any size.
  virtual absl::StatusOr<EncodeReply> Encode(const std::vector<Document>& documents,
                                             const EncodeOptions& options) = 0;

  // The labels of each document. Blocks.
  virtual absl::StatusOr<ClassifyReply> Classify(const std::vector<Document>& documents,
                                                 const ClassifyOptions& options) = 0;

  using EncodeCallback = absl::AnyInvocable<void(absl::StatusOr<EncodeReply>) &&>;
  using ClassifyCallback = absl::AnyInvocable<void(absl::StatusOr<ClassifyReply>) &&>;

  // Asynchronous forms. Block only while `max_in_flight` requests are under way. `documents` need
  // not outlive the call. `done` is called exactly once, on one of gRPC's threads, and must not
  // block nor call back into this client.
  virtual void EncodeAsync(const std::vector<Document>& documents, const EncodeOptions& options,
                           EncodeCallback done) = 0;
  virtual void ClassifyAsync(const std::vector<Document>& documents, const ClassifyOptions& options,
                             ClassifyCallback done) = 0;

  // Blocks until no asynchronous request is under way.
  virtual void WaitUntilIdle() = 0;

  // The loaded models, ordered by name, then version. Blocks.
  virtual absl::StatusOr<std::vector<ModelInfo>> ListModels() = 0;

  // One model; version 0 is the newest. NOT_FOUND when it is not loaded. Blocks.
  virtual absl::StatusOr<ModelInfo> GetModel(const ModelId& model) = 0;

  // How the model's attention would be computed for sequences of these lengths (1 to 64 of them),
  // and why; nothing is run. INVALID_ARGUMENT for a length that the model does not take. Blocks.
  virtual absl::StatusOr<std::vector<AttentionPlan>> PlanAttention(
      const ModelId& model, const std::vector<int64_t>& lengths) = 0;

  // OK when `service` ("": the server as a whole) is SERVING; UNAVAILABLE when it is not or nobody
  // answers; NOT_FOUND when the server does not know the service. Blocks.
  virtual absl::Status CheckHealth(absl::string_view service) = 0;

 protected:
  Client() = default;
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLIENT_H_
