#ifndef LONGWAVE_CLIENT_CLI_COMMANDS_H_
#define LONGWAVE_CLIENT_CLI_COMMANDS_H_

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>

#include "client/cli/console.h"
#include "client/cli/exit_code.h"

// The commands of `longwave`, one per .cc file. Each function adds its command to `app`; when the
// command line names it, parsing runs it on `console` and sets `exit_code`. Both must outlive
// `app`.
namespace longwave::client {

void AddEncodeCommand(CLI::App& app, Console& console, ExitCode& exit_code);
void AddClassifyCommand(CLI::App& app, Console& console, ExitCode& exit_code);
void AddModelsCommand(CLI::App& app, Console& console, ExitCode& exit_code);
void AddPlanCommand(CLI::App& app, Console& console, ExitCode& exit_code);
void AddHealthCommand(CLI::App& app, Console& console, ExitCode& exit_code);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_COMMANDS_H_
