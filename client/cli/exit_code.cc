#include "client/cli/exit_code.h"

#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/retry.h"

namespace longwave::client {
namespace {

// gRPC, on either side, uses the code of a full queue for this too.
bool IsMessageTooLarge(const absl::Status& status) {
  return absl::StrContains(status.message(), "larger than max");
}

// What the server asks for, unless its message says so.
std::string Advice(const absl::Status& status) {
  if (absl::StrContains(status.message(), "try again in")) return ",";
  const std::optional<absl::Duration> delay = RetryDelay(status);
  if (!delay.has_value()) return "; try again later";
  return absl::StrCat("; try again in ",
                      absl::FormatDuration(absl::Ceil(*delay, absl::Milliseconds(1))));
}

}  // namespace

const char kExitCodeHelp[] =
    "Exit codes:\n"
    "  0  everything was served\n"
    "  1  some inputs failed; the others were served\n"
    "  2  wrong usage\n"
    "  3  the server cannot be reached, is starting or is shutting down\n"
    "  4  the server refuses the request: unknown model or head, invalid or too large\n"
    "  5  no answer within --timeout\n"
    "  6  the server is too busy\n"
    "  7  an error inside the server, or the result could not be written";

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return ExitCode::kOk;
    case absl::StatusCode::kUnavailable:
      return ExitCode::kUnavailable;
    case absl::StatusCode::kDeadlineExceeded:
      return ExitCode::kDeadline;
    case absl::StatusCode::kResourceExhausted:
      return IsMessageTooLarge(status) ? ExitCode::kRefused : ExitCode::kBusy;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kOutOfRange:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
      return ExitCode::kRefused;
    default:
      return ExitCode::kInternal;
  }
}

std::string Explain(const absl::Status& status, absl::string_view server) {
  const absl::string_view message = status.message();
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      if (absl::StrContains(message, "connect") || absl::StrContains(message, "DNS")) {
        return absl::StrCat("cannot reach ", server,
                            ": is longwave-server running there? Set --server or LONGWAVE_SERVER (",
                            message, ")");
      }
      return absl::StrCat(server, " is not ready: ", message,
                          "; it may be starting or shutting down, try again");
    case absl::StatusCode::kDeadlineExceeded:
      return absl::StrCat("no answer from ", server,
                          " in time: raise --timeout, or send less at once (--batch, --in_flight)");
    case absl::StatusCode::kResourceExhausted:
      if (IsMessageTooLarge(status)) {
        return absl::StrCat("a message is over a limit: ", message,
                            "; lower --batch, or raise --max_message_bytes here and at ", server);
      }
      return absl::StrCat(server, " is too busy: ", message, Advice(status),
                          " or lower --in_flight or --batch");
    case absl::StatusCode::kUnimplemented:
      return absl::StrCat(server, " answers, but not as this version of Longwave: ", message);
    case absl::StatusCode::kInternal:
    case absl::StatusCode::kUnknown:
      return absl::StrCat(server, " failed: ", message, "; its log says more");
    default:
      return std::string(message);
  }
}

}  // namespace longwave::client
