#ifndef LONGWAVE_CLIENT_CLI_CONSOLE_H_
#define LONGWAVE_CLIENT_CLI_CONSOLE_H_

#include <istream>
#include <ostream>

namespace longwave::client {

// Where a command reads and writes: the process's own streams, or a test's.
struct Console {
  std::istream& in;
  std::ostream& out;
  std::ostream& err;
  bool err_is_terminal = false;  // progress is drawn on `err`
  int out_columns = 0;           // width that tables are fitted to; 0: any width
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_CONSOLE_H_
