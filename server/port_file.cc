#include "server/port_file.h"

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace longwave {

absl::Status WritePortFile(const std::string& path, int grpc_port, int metrics_port) {
  const std::string unfinished = path + ".tmp";
  {
    std::ofstream out(unfinished, std::ios::trunc);
    out << absl::StrCat("{\"grpc\": ", grpc_port, ", \"metrics\": ", metrics_port, "}\n");
    out.close();
    if (!out) {
      return absl::InternalError(absl::StrCat("port file: cannot write ", unfinished));
    }
  }
  std::error_code error;
  std::filesystem::rename(unfinished, path, error);
  if (error) {
    return absl::InternalError(
        absl::StrCat("port file: cannot create ", path, ": ", error.message()));
  }
  return absl::OkStatus();
}

absl::Status RemovePortFile(const std::string& path) {
  std::error_code error;
  std::filesystem::remove(path, error);
  if (error) {
    return absl::InternalError(
        absl::StrCat("port file: cannot remove ", path, ": ", error.message()));
  }
  return absl::OkStatus();
}

}  // namespace longwave
