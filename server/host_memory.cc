#include "server/host_memory.h"

#include <algorithm>
#include <fstream>
#include <optional>

namespace longwave {
namespace {

std::optional<int64_t> ReadNumber(const std::string& path) {
  std::ifstream file(path);
  int64_t number = 0;
  if (!(file >> number)) return std::nullopt;  // missing, or "max"
  return number;
}

std::optional<int64_t> ReadMemAvailable(const std::string& path) {
  std::ifstream file(path);
  std::string key, unit;
  for (int64_t kibibytes = 0; file >> key >> kibibytes; std::getline(file, unit)) {
    if (key == "MemAvailable:") return kibibytes * 1024;
  }
  return std::nullopt;
}

}  // namespace

int64_t AvailableHostMemory(const std::string& meminfo, const std::string& cgroup) {
  std::optional<int64_t> available = ReadMemAvailable(meminfo);
  const std::optional<int64_t> limit = ReadNumber(cgroup + "/memory.max");
  const std::optional<int64_t> current = ReadNumber(cgroup + "/memory.current");
  if (limit.has_value() && current.has_value()) {
    const int64_t left = std::max<int64_t>(0, *limit - *current);
    available = available.has_value() ? std::min(*available, left) : left;
  }
  return available.value_or(0);
}

int64_t AvailableHostMemory() {
  // A container sees its own control group at the root.
  return AvailableHostMemory("/proc/meminfo", "/sys/fs/cgroup");
}

}  // namespace longwave
