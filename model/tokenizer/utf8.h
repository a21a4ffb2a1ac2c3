#ifndef LONGWAVE_MODEL_TOKENIZER_UTF8_H_
#define LONGWAVE_MODEL_TOKENIZER_UTF8_H_

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace longwave {

// INVALID_ARGUMENT, naming the first bad byte's position, unless `text` is UTF-8 as RFC 3629 has
// it: no overlong forms, no surrogates, nothing beyond U+10FFFF. NUL is a character like any other.
absl::Status ValidateUtf8(absl::string_view text);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_TOKENIZER_UTF8_H_
