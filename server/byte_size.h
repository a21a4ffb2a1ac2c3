#ifndef LONGWAVE_SERVER_BYTE_SIZE_H_
#define LONGWAVE_SERVER_BYTE_SIZE_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace longwave {

// A number of bytes as a flag: "67108864", "64MiB", "1GiB", "512KiB".
struct ByteSize {
  int64_t bytes = 0;
};

// Abseil's interface for flag types. Only non-negative whole numbers that fit into 63 bits parse.
bool AbslParseFlag(absl::string_view text, ByteSize* size, std::string* error);

// In the largest unit that divides it.
std::string AbslUnparseFlag(const ByteSize& size);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BYTE_SIZE_H_
