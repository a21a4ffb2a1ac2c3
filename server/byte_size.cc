#include "server/byte_size.h"

#include <limits>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace longwave {
namespace {

struct Unit {
  const char* name;
  int64_t bytes;
};

constexpr Unit kUnits[] = {
    {"GiB", int64_t{1} << 30}, {"MiB", int64_t{1} << 20}, {"KiB", int64_t{1} << 10}};

}  // namespace

bool AbslParseFlag(absl::string_view text, ByteSize* size, std::string* error) {
  int64_t unit = 1;
  for (const Unit& candidate : kUnits) {
    if (absl::ConsumeSuffix(&text, candidate.name)) {
      unit = candidate.bytes;
      break;
    }
  }
  int64_t count = 0;
  if (!absl::SimpleAtoi(text, &count) || count < 0 ||
      count > std::numeric_limits<int64_t>::max() / unit) {
    *error = "expected a number of bytes such as 65536, 512KiB, 64MiB or 1GiB";
    return false;
  }
  size->bytes = count * unit;
  return true;
}

std::string AbslUnparseFlag(const ByteSize& size) {
  for (const Unit& unit : kUnits) {
    if (size.bytes != 0 && size.bytes % unit.bytes == 0) {
      return absl::StrCat(size.bytes / unit.bytes, unit.name);
    }
  }
  return absl::StrCat(size.bytes);
}

}  // namespace longwave
