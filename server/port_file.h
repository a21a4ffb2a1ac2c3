#ifndef LONGWAVE_SERVER_PORT_FILE_H_
#define LONGWAVE_SERVER_PORT_FILE_H_

#include <string>

#include "absl/status/status.h"

namespace longwave {

// Writes one line, {"grpc": <port>, "metrics": <port>}, to `path`. A reader sees the whole line or
// no file: it is written beside and renamed. INTERNAL, naming the path, when that fails. Blocks.
absl::Status WritePortFile(const std::string& path, int grpc_port, int metrics_port);

// Removes the file, so that nobody takes the ports of a server that has ended for those of the next
// one. OK when there is none; INTERNAL, naming the path, when it cannot be removed. Blocks.
absl::Status RemovePortFile(const std::string& path);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_PORT_FILE_H_
