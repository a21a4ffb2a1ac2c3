#ifndef LONGWAVE_CLIENT_CLI_SENDER_H_
#define LONGWAVE_CLIENT_CLI_SENDER_H_

#include <cstdint>
#include <functional>
#include <istream>
#include <optional>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/cli/inputs.h"
#include "client/cli/progress.h"
#include "client/request_packer.h"
#include "client/types.h"

namespace longwave::client {

// What became of one input.
template <typename Result>
struct Outcome {
  Result result;              // its status tells when reading or sending failed
  int64_t bytes = 0;          // size of the content
  absl::Duration round_trip;  // of the request that carried it
};

// What became of all inputs.
template <typename Reply>
struct Answers {
  using Result = typename decltype(Reply::results)::value_type;

  std::vector<Outcome<Result>> outcomes;  // one per source, in order
  ModelId model;                          // the one that answered
  Usage usage;                            // summed over the requests
  absl::Duration elapsed;                 // from the first read to the last answer
  absl::Status failure;  // of the first request, in the order of the inputs, that failed as a whole
};

struct SendOptions {
  Document::Kind file_kind = Document::Kind::kBytes;
  Document::Kind literal_kind = Document::Kind::kText;
  RequestPacker::Options packer;

  // Largest content of one input.
  int64_t max_bytes() const { return packer.max_message_bytes - RequestPacker::kReservedBytes; }
};

// Starts one request; `done` is called once, on any thread. May block for as long as too many
// requests are under way.
template <typename Reply>
using Send = std::function<void(const std::vector<Document>&,
                                absl::AnyInvocable<void(absl::StatusOr<Reply>) &&> done)>;

// Reads the inputs one after the other, packs them into requests, sends those, and collects what
// comes back. Holds no more content than the requests under way. An input that cannot be read or
// does not fit into a message fails alone. After a failure that every request would meet (no such
// model, server gone, ...) the remaining inputs are not sent and carry that failure. Blocks until
// all is answered. Instantiated for EncodeReply and ClassifyReply.
template <typename Reply>
Answers<Reply> SendAll(const std::vector<InputSource>& sources, const SendOptions& options,
                       std::istream& in, Progress& progress, const Send<Reply>& send);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_SENDER_H_
