#include <memory>
#include <string>

#include "client/cli/commands.h"
#include "client/cli/flags.h"
#include "client/cli/session.h"
#include "client/client.h"

namespace longwave::client {
namespace {

struct HealthFlags {
  ConnectionFlags connection{absl::Seconds(2)};
  std::string service;
};

ExitCode RunHealth(const HealthFlags& flags, Console& console) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Create(flags.connection.ToOptions());
  if (!client.ok()) {
    PrintError(console.err, client.status().message());
    return ExitCode::kUsage;
  }
  const absl::Status status = (*client)->CheckHealth(flags.service);
  if (status.ok()) {
    console.out << "SERVING\n";
    return ExitCode::kOk;
  }
  const ExitCode code = ReportFailure(status, flags.connection, console);
  // A probe asks one thing: whether requests may be sent. Silence is no.
  return code == ExitCode::kDeadline ? ExitCode::kUnavailable : code;
}

}  // namespace

void AddHealthCommand(CLI::App& app, Console& console, ExitCode& exit_code) {
  CLI::App* command = app.add_subcommand("health", "Tell whether the server serves, for probes");
  auto flags = std::make_shared<HealthFlags>();
  flags->connection.AddTo(*command);
  command
      ->add_option("--service", flags->service,
                   "Service to ask about, such as longwave.v1.InferenceService. Default: the whole "
                   "server")
      ->type_name("NAME");
  command->footer(
      "Prints SERVING and exits with 0, or says why not and exits with 3 (4: no such service).\n"
      "\n"
      "Example, as a container's health check:\n"
      "  HEALTHCHECK CMD [\"longwave\", \"health\"]");
  command->callback([flags, &console, &exit_code] { exit_code = RunHealth(*flags, console); });
}

}  // namespace longwave::client
