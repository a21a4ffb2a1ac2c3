#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/device/find_device.h"
#include "model/runtime/model.h"

namespace longwave {
namespace {

// More threads than any machine has cores: a mistyped flag, not a wish.
constexpr int kMaxThreads = 4096;

}  // namespace

absl::Status Model::Options::Validate() const {
  if (absl::Status status = ValidateDeviceName(device); !status.ok()) return status;
  if (dtype != "auto" && dtype != "float32" && dtype != "bfloat16" && dtype != "float16") {
    return absl::InvalidArgumentError(absl::StrCat(
        "dtype: found '", dtype, "', expected 'auto', 'float32', 'bfloat16' or 'float16'"));
  }
  if (device_memory_limit < 0) {
    return absl::InvalidArgumentError(absl::StrCat("device_memory_limit: found ",
                                                   device_memory_limit,
                                                   ", expected at least 1, or 0 for none"));
  }
  if (threads < 0 || threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads: found ", threads, ", expected 0 to ", kMaxThreads));
  }
  return absl::OkStatus();
}

}  // namespace longwave
