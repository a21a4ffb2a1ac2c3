#ifndef LONGWAVE_CLIENT_CLI_TEXT_WIDTH_H_
#define LONGWAVE_CLIENT_CLI_TEXT_WIDTH_H_

#include <string>

#include "absl/strings/string_view.h"

// Text in a terminal. All functions are thread-safe and independent of the process's locale.
namespace longwave::client {

// `text` as valid UTF-8 without control characters: what cannot be shown becomes U+FFFD, so a
// file's name cannot move the cursor.
std::string Printable(absl::string_view text);

// Columns that printable text takes: 2 for wide characters, 0 for combining ones.
int DisplayWidth(absl::string_view printable);

// The end of printable text in at most `width` columns (at least 1), with "…" for what was cut from
// its front.
std::string KeepEnd(absl::string_view printable, int width);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_TEXT_WIDTH_H_
