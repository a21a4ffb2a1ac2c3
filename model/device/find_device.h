#ifndef LONGWAVE_MODEL_DEVICE_FIND_DEVICE_H_
#define LONGWAVE_MODEL_DEVICE_FIND_DEVICE_H_

#include <string>

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

}  // namespace longwave

#endif  // LONGWAVE_MODEL_DEVICE_FIND_DEVICE_H_
