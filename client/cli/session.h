#ifndef LONGWAVE_CLIENT_CLI_SESSION_H_
#define LONGWAVE_CLIENT_CLI_SESSION_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cli/console.h"
#include "client/cli/exit_code.h"
#include "client/cli/flags.h"
#include "client/cli/inputs.h"
#include "client/cli/sender.h"
#include "client/client.h"
#include "client/types.h"

// What the commands that send inputs have in common before and after the sending.
namespace longwave::client {

// A command's server, model and inputs.
struct Session {
  std::unique_ptr<Client> client;
  ModelInfo model;  // the one that will answer
  std::vector<InputSource> sources;
  SendOptions options;
};

// Expands the inputs, connects and picks the model. On failure writes why to `console.err`, sets
// `exit_code` and returns nothing. Blocks.
std::optional<Session> OpenSession(const SendingFlags& flags, Console& console,
                                   ExitCode& exit_code);

// The loaded model that `wanted` names; an empty name is the only one, version 0 the newest.
// NOT_FOUND and INVALID_ARGUMENT list what there is.
absl::StatusOr<ModelInfo> ChooseModel(const std::vector<ModelInfo>& loaded, const ModelId& wanted);

// Writes "longwave: " and `message` to `err` as one printable line.
void PrintError(std::ostream& err, absl::string_view message);

// Writes why a command failed and returns its exit code.
ExitCode ReportFailure(const absl::Status& status, const ConnectionFlags& connection,
                       Console& console);

// Writes which inputs failed, at most ten of them, with a whole request's failure written once.
// Returns the exit code: that of the request's failure, else kSomeInputsFailed, else kOk.
ExitCode ReportOutcomes(const std::vector<InputSource>& sources,
                        const std::vector<absl::Status>& statuses, const absl::Status& failure,
                        const ConnectionFlags& connection, Console& console);

// The status of each outcome, in order.
template <typename Result>
std::vector<absl::Status> Statuses(const std::vector<Outcome<Result>>& outcomes) {
  std::vector<absl::Status> statuses;
  statuses.reserve(outcomes.size());
  for (const auto& outcome : outcomes) statuses.push_back(outcome.result.status);
  return statuses;
}

// "40 inputs, 1.2 MB, 1.2M tokens in 3.1 s by file-type version 1": the line below a table.
std::string Summary(size_t inputs, int64_t bytes, const Usage& usage, absl::Duration elapsed,
                    const ModelId& model);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_SESSION_H_
