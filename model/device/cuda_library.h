#ifndef LONGWAVE_MODEL_DEVICE_CUDA_LIBRARY_H_
#define LONGWAVE_MODEL_DEVICE_CUDA_LIBRARY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/device/device.h"

namespace longwave {

// GPUs that the driver knows, at least 1, usable or not. UNAVAILABLE, saying why, without any, or
// without a driver. Thread-safe; blocks.
absl::StatusOr<int> CountCudaDevices();

// Opens GPU number `index`, loading liblongwave_runtime_cuda.so, and with it LibTorch's CUDA part
// and the CUDA kernels of the operators, if that has not been done. No program links that library:
// glibc would take its thread-local storage from the stack of every thread, and machines without a
// GPU do not have it. It is found by the program's run path, or by LD_LIBRARY_PATH.
//
// UNAVAILABLE, naming the device and saying why, without such a GPU, its driver or the library.
// Thread-safe; blocks.
absl::StatusOr<std::unique_ptr<Device>> OpenCudaDevice(int index);

// What the library exports under kOpenCudaDeviceSymbol: the device, which the caller owns, or null
// and `error` says why. Never throws.
using OpenCudaDeviceFunction = Device* (*)(int index, std::string* error);
inline constexpr char kOpenCudaDeviceSymbol[] = "longwave_open_cuda_device";

}  // namespace longwave

#endif  // LONGWAVE_MODEL_DEVICE_CUDA_LIBRARY_H_
