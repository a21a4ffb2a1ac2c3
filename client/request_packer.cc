#include "client/request_packer.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace longwave::client {
namespace {

// Tags and lengths of the messages around a document's data: at most three of each, of at most six
// bytes.
constexpr int64_t kFramingBytes = 32;
// Longest varint of a 32-bit id.
constexpr int64_t kMaxIdBytes = 5;

}  // namespace

int64_t WireBytes(const Document& document) {
  const int64_t data = document.kind == Document::Kind::kTokenIds
                           ? static_cast<int64_t>(document.ids.size()) * kMaxIdBytes
                           : static_cast<int64_t>(document.data.size());
  return data + kFramingBytes;
}

absl::Status RequestPacker::Options::Validate() const {
  if (max_documents < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_documents is ", max_documents, ", expected at least 1"));
  }
  if (max_message_bytes <= kReservedBytes) {
    return absl::InvalidArgumentError(absl::StrCat("max_message_bytes is ", max_message_bytes,
                                                   ", expected more than ", kReservedBytes));
  }
  return absl::OkStatus();
}

bool RequestPacker::Fits(const Document& document) const {
  return static_cast<int64_t>(documents_.size()) < options_.max_documents &&
         kReservedBytes + bytes_ + WireBytes(document) <= options_.max_message_bytes;
}

absl::Status RequestPacker::Add(Document document) {
  if (!Fits(document)) {
    return absl::OutOfRangeError(
        absl::StrCat("the document takes ", WireBytes(document), " bytes in a request, ",
                     options_.max_message_bytes - kReservedBytes - bytes_,
                     " bytes are left of a message of ", options_.max_message_bytes));
  }
  bytes_ += WireBytes(document);
  documents_.push_back(std::move(document));
  return absl::OkStatus();
}

std::vector<Document> RequestPacker::Take() {
  bytes_ = 0;
  return std::exchange(documents_, {});
}

}  // namespace longwave::client
