#ifndef LONGWAVE_CLIENT_CLI_EXIT_CODE_H_
#define LONGWAVE_CLIENT_CLI_EXIT_CODE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace longwave::client {

// What the process exits with. Part of the command line's interface: a number keeps its meaning.
enum class ExitCode : int {
  kOk = 0,
  kSomeInputsFailed = 1,
  kUsage = 2,
  kUnavailable = 3,
  kRefused = 4,
  kDeadline = 5,
  kBusy = 6,
  kInternal = 7,
};

// The codes with their meaning, for --help.
extern const char kExitCodeHelp[];

// The code for a request that failed as a whole.
ExitCode ExitCodeOf(const absl::Status& status);

// One line that says what failed and what to do next. `server` is the address that was asked.
std::string Explain(const absl::Status& status, absl::string_view server);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_EXIT_CODE_H_
