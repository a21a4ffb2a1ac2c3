#ifndef LONGWAVE_CLIENT_REQUEST_PACKER_H_
#define LONGWAVE_CLIENT_REQUEST_PACKER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "client/types.h"

namespace longwave::client {

// Bytes that a document takes in a request message, never less than its real share.
int64_t WireBytes(const Document& document);

// Collects documents into requests that keep within a number of documents and a message size.
//
//   for (Document& document : documents) {
//     if (!packer.Fits(document)) send(packer.Take());
//     status = packer.Add(std::move(document));
//   }
//   if (!packer.empty()) send(packer.Take());
//
// Thread-compatible.
class RequestPacker {
 public:
  struct Options {
    int64_t max_documents = 32;                     // per request, at least 1
    int64_t max_message_bytes = int64_t{64} << 20;  // per request, over kReservedBytes

    absl::Status Validate() const;
  };

  // Kept free for the request's other fields.
  static constexpr int64_t kReservedBytes = 4096;

  // `options` must be valid.
  explicit RequestPacker(const Options& options) : options_(options) {}

  // Whether the request under way has room for `document`. Always true of an empty request, unless
  // no request could hold it.
  bool Fits(const Document& document) const;

  // Adds a document that fits. OUT_OF_RANGE, naming size and limit, and nothing added, when it does
  // not.
  absl::Status Add(Document document);

  // Hands the request under way out and starts the next.
  std::vector<Document> Take();

  bool empty() const { return documents_.empty(); }

 private:
  const Options options_;
  std::vector<Document> documents_;
  int64_t bytes_ = 0;
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_REQUEST_PACKER_H_
