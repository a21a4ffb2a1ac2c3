#ifndef LONGWAVE_CLIENT_STREAM_ASSEMBLER_H_
#define LONGWAVE_CLIENT_STREAM_ASSEMBLER_H_

// Internal: include from .cc files only.

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/types.h"
#include "longwave/v1/inference.pb.h"

namespace longwave::client {

// Puts the chunks of an EncodeStream together. Usage is summed over the inputs, timing is that of
// the slowest. Thread-compatible.
class StreamAssembler {
 public:
  explicit StreamAssembler(size_t documents);

  // Takes the next chunk. INTERNAL when it breaks the protocol: an unknown input, rows out of
  // order, a chunk after the last.
  absl::Status Add(const v1::EncodeStreamResponse& chunk);

  // The whole reply, once the stream has ended. INTERNAL when an input is not complete. Call once.
  absl::StatusOr<EncodeReply> Finish();

 private:
  absl::Status AddRows(const v1::EncodeStreamResponse& chunk, EncodeResult& result);

  EncodeReply reply_;
  std::vector<bool> closed_;
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_STREAM_ASSEMBLER_H_
