#ifndef LONGWAVE_MODEL_DEVICE_FIND_DEVICE_H_
#define LONGWAVE_MODEL_DEVICE_FIND_DEVICE_H_

#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/device/device.h"

namespace longwave {

// Names of devices: "cpu", "cuda:N", and "auto", the first GPU that can be used or else the CPU.
// INVALID_ARGUMENT, saying what was found and what was expected, for everything else.
absl::Status ValidateDeviceName(absl::string_view name);

// The device of that name: one object per device of the process, never destroyed. The first request
// for a GPU loads the library with everything CUDA, which stays loaded. `why_cpu`, when not null,
// receives one sentence for the log when "auto" has to take the CPU. Thread-safe; blocks.
//
// INVALID_ARGUMENT for what is no name of a device; UNAVAILABLE, saying why, when the machine, its
// driver or the installation has no such device.
absl::StatusOr<Device*> FindDevice(const std::string& name, std::string* why_cpu = nullptr);

// What a server is told to run on: "auto", every GPU that can be used or else the CPU; or names of
// devices with commas in between, no name twice, and not the CPU beside GPUs, whose answers differ
// by rounding. INVALID_ARGUMENT, saying what was found and what was expected, for everything else.
absl::Status ValidateDeviceList(absl::string_view list);

// The names of the devices that such a list means, at least one; `why_cpu` and the errors are those
// of FindDevice(). "auto" passes over GPUs that cannot be used: `passed_over`, when not null,
// receives one sentence for the log about each, unless there is no other. Thread-safe; blocks.
absl::StatusOr<std::vector<std::string>> FindDevices(
    const std::string& list, std::string* why_cpu = nullptr,
    std::vector<std::string>* passed_over = nullptr);

// The first GPUs, at most `most` of `count`, by their numbers, that `open` has no error for. Adds
// the messages of the errors to `why_not`, in the order of the GPUs.
std::vector<int> FindUsableGpus(int count, int most, absl::FunctionRef<absl::Status(int)> open,
                                std::vector<std::string>& why_not);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_DEVICE_FIND_DEVICE_H_
