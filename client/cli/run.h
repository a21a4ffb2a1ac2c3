#ifndef LONGWAVE_CLIENT_CLI_RUN_H_
#define LONGWAVE_CLIENT_CLI_RUN_H_

#include <string>
#include <vector>

#include "client/cli/console.h"
#include "client/cli/exit_code.h"

namespace longwave::client {

// Runs `longwave` with the arguments that follow the program's name. Blocks. Never throws.
ExitCode RunCli(const std::vector<std::string>& arguments, Console& console);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_RUN_H_
