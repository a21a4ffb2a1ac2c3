#include "server/banner.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "server/version.h"

namespace longwave {
namespace {

// "host:port" with the port that was bound.
std::string BoundAddress(absl::string_view asked, int port) {
  return absl::StrCat(asked.substr(0, asked.rfind(':')), ":", port);
}

std::string Tasks(const ModelInfo& info) {
  std::vector<std::string> tasks;
  if (info.can_encode) tasks.push_back(absl::StrCat("encode (", info.hidden_size, " numbers)"));
  for (const HeadInfo& head : info.heads) {
    tasks.push_back(absl::StrCat("classify ", head.name, " (", head.labels.size(), " labels)"));
  }
  return absl::StrJoin(tasks, ", ");
}

}  // namespace

std::string Banner(const Server& server, const Server::Options& options) {
  constexpr char kRow[] = "  %-24s %7s  %-*s %12s  %11s  %s\n";
  std::string text = absl::StrCat("Longwave ", kVersion, " is ready\n\n");
  size_t device_width = 8;
  for (const ServedModel& model : server.models()) {
    device_width = std::max(device_width, model.info.device.size());
  }
  const int width = static_cast<int>(device_width);
  absl::StrAppendFormat(&text, kRow, "MODEL", "VERSION", width, "DEVICE", "PARAMETERS",
                        "MAX TOKENS", "SERVES");
  for (const ServedModel& model : server.models()) {
    const ModelInfo& info = model.info;
    absl::StrAppendFormat(&text, kRow, model.name, absl::StrCat(model.version), width, info.device,
                          absl::StrCat(info.parameters), absl::StrCat(info.max_length),
                          Tasks(info));
  }
  absl::StrAppend(&text, "\n  gRPC     ", BoundAddress(options.listen, server.grpc_port()), "\n");
  if (server.metrics_port() != 0) {
    absl::StrAppend(&text, "  metrics  http://",
                    BoundAddress(options.metrics_listen, server.metrics_port()), "/metrics\n");
  }
  return text;
}

}  // namespace longwave
