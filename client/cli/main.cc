#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>

#include "client/cli/run.h"

namespace {

bool IsTerminal(int descriptor) {
  const char* term = std::getenv("TERM");
  return isatty(descriptor) != 0 && term != nullptr && std::string(term) != "dumb";
}

// Columns of the terminal that tables are shown on; 0 when they go elsewhere.
int TerminalColumns() {
  winsize size = {};
  return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

}  // namespace

int main(int argc, char** argv) {
  // Errors reach the user in our own words; gRPC's log stays available through the variable.
  setenv("GRPC_VERBOSITY", "NONE", /*overwrite=*/0);
  std::ios::sync_with_stdio(false);
  longwave::client::Console console{.in = std::cin,
                                    .out = std::cout,
                                    .err = std::cerr,
                                    .err_is_terminal = IsTerminal(STDERR_FILENO),
                                    .out_columns = TerminalColumns()};
  return static_cast<int>(longwave::client::RunCli({argv + 1, argv + argc}, console));
}
