#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/runtime/model.h"

namespace longwave {
namespace {

// More threads than any machine has cores: a mistyped flag, not a wish.
constexpr int kMaxThreads = 4096;

}  // namespace

absl::Status Model::Options::Validate() const {
  if (device != "cpu") {
    return absl::InvalidArgumentError(absl::StrCat("device: found '", device, "', expected 'cpu'"));
  }
  if (threads < 0 || threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads: found ", threads, ", expected 0 to ", kMaxThreads));
  }
  return absl::OkStatus();
}

}  // namespace longwave
