#include "model/device/find_device.h"

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "model/device/cpu_device.h"
#include "model/device/cuda_library.h"

namespace longwave {
namespace {

constexpr absl::string_view kCudaPrefix = "cuda:";

// No machine has more; it keeps the number an int.
constexpr int kMaxIndex = 1023;

// N of "cuda:N", written as a plain number.
bool ParseCudaIndex(absl::string_view name, int* index) {
  return absl::ConsumePrefix(&name, kCudaPrefix) && absl::SimpleAtoi(name, index) && *index >= 0 &&
         *index <= kMaxIndex && absl::StrCat(*index) == name;
}

struct Devices {
  absl::Mutex mutex;
  std::map<int, std::unique_ptr<Device>> gpus ABSL_GUARDED_BY(mutex);
};

absl::StatusOr<Device*> FindGpu(int index) {
  static Devices* const devices = new Devices;
  const absl::MutexLock lock(&devices->mutex);
  std::unique_ptr<Device>& gpu = devices->gpus[index];
  if (gpu == nullptr) {
    absl::StatusOr<std::unique_ptr<Device>> opened = OpenCudaDevice(index);
    if (!opened.ok()) return opened.status();
    gpu = *std::move(opened);
  }
  return gpu.get();
}

// Those that "auto" means, at most `most`, and why not the GPUs before them or between.
std::vector<int> FindGpus(int most, std::vector<std::string>& why_not) {
  // Where they cannot be counted, the first one's error says why.
  const int count = std::min(CountCudaDevices().value_or(1), kMaxIndex + 1);
  return FindUsableGpus(
      count, most, [](int index) { return FindGpu(index).status(); }, why_not);
}

}  // namespace

std::vector<int> FindUsableGpus(int count, int most, absl::FunctionRef<absl::Status(int)> open,
                                std::vector<std::string>& why_not) {
  std::vector<int> usable;
  for (int index = 0; index < count && static_cast<int>(usable.size()) < most; ++index) {
    const absl::Status status = open(index);
    if (status.ok()) {
      usable.push_back(index);
    } else {
      why_not.emplace_back(status.message());
    }
  }
  return usable;
}

absl::Status ValidateDeviceName(absl::string_view name) {
  int index = 0;
  if (name == "cpu" || name == "auto" || ParseCudaIndex(name, &index)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("device: found '", name,
                                                 "', expected 'auto', 'cpu' or 'cuda:N', such as "
                                                 "'cuda:0'"));
}

absl::StatusOr<Device*> FindDevice(const std::string& name, std::string* why_cpu) {
  if (absl::Status status = ValidateDeviceName(name); !status.ok()) return status;
  static Device* const cpu = new CpuDevice;
  if (name == "cpu") return cpu;
  int index = 0;
  if (ParseCudaIndex(name, &index)) return FindGpu(index);
  std::vector<std::string> why_not;
  const std::vector<int> gpus = FindGpus(/*most=*/1, why_not);
  if (!gpus.empty()) return FindGpu(gpus[0]);
  if (why_cpu != nullptr) *why_cpu = absl::StrJoin(why_not, "; ");
  return cpu;
}

absl::Status ValidateDeviceList(absl::string_view list) {
  const std::vector<std::string> names = absl::StrSplit(list, ',');
  std::set<std::string> seen;
  for (const std::string& name : names) {
    if (absl::Status status = ValidateDeviceName(name); !status.ok()) return status;
    if (!seen.insert(name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("device: found '", name, "' twice in '", list, "', expected it once"));
    }
  }
  if (names.size() > 1 && (seen.count("auto") > 0 || seen.count("cpu") > 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("device: found '", list,
                     "', expected 'auto' or 'cpu' alone, or only GPUs, such as "
                     "'cuda:0,cuda:1'"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> FindDevices(const std::string& list, std::string* why_cpu,
                                                     std::vector<std::string>* passed_over) {
  if (absl::Status status = ValidateDeviceList(list); !status.ok()) return status;
  std::vector<std::string> names;
  if (list != "auto") {
    names = absl::StrSplit(list, ',');
    for (const std::string& name : names) {
      if (absl::Status status = FindDevice(name).status(); !status.ok()) return status;
    }
    return names;
  }
  std::vector<std::string> why_not;
  for (const int index : FindGpus(kMaxIndex + 1, why_not)) {
    names.push_back(absl::StrCat(kCudaPrefix, index));
  }
  if (names.empty()) {
    names.push_back("cpu");
    if (why_cpu != nullptr) *why_cpu = absl::StrJoin(why_not, "; ");
  } else if (passed_over != nullptr) {
    *passed_over = std::move(why_not);
  }
  return names;
}

}  // namespace longwave
