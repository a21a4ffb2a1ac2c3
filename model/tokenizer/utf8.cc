#include "model/tokenizer/utf8.h"

#include <utf8proc.h>

#include "absl/strings/str_cat.h"

namespace longwave {

absl::Status ValidateUtf8(absl::string_view text) {
  const auto* bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto size = static_cast<utf8proc_ssize_t>(text.size());
  utf8proc_ssize_t position = 0;
  while (position < size) {
    utf8proc_int32_t code_point = 0;
    const utf8proc_ssize_t used = utf8proc_iterate(bytes + position, size - position, &code_point);
    if (used <= 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("text: found invalid UTF-8 at byte ", position));
    }
    position += used;
  }
  return absl::OkStatus();
}

}  // namespace longwave
