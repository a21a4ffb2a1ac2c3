#include "model/device/cuda_library.h"

#include <dlfcn.h>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

constexpr char kDriver[] = "libcuda.so.1";
constexpr char kLibrary[] = "liblongwave_runtime_cuda.so";

absl::Status NoDevice(int index, absl::string_view why) {
  return absl::UnavailableError(absl::StrCat("device cuda:", index, ": ", why));
}

}  // namespace

// Asks the driver, which is small, before the library of gigabytes is loaded.
absl::StatusOr<int> CountCudaDevices() {
  void* const driver = dlopen(kDriver, RTLD_NOW | RTLD_LOCAL);
  if (driver == nullptr) {
    return absl::UnavailableError(absl::StrCat("no NVIDIA driver on this machine: ", dlerror()));
  }
  const auto init = reinterpret_cast<int (*)(unsigned)>(dlsym(driver, "cuInit"));
  const auto count_devices = reinterpret_cast<int (*)(int*)>(dlsym(driver, "cuDeviceGetCount"));
  if (init == nullptr || count_devices == nullptr) {
    return absl::UnavailableError(absl::StrCat(kDriver, " is not a driver: ", dlerror()));
  }
  int count = 0;
  int error = init(0);
  if (error == 0) error = count_devices(&count);
  constexpr int kNoDevice = 100;  // CUDA_ERROR_NO_DEVICE
  if (error == kNoDevice || (error == 0 && count == 0)) {
    return absl::UnavailableError("the NVIDIA driver finds no GPU");
  }
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("the NVIDIA driver does not start (CUDA driver error ", error, ")"));
  }
  return count;
}

absl::StatusOr<std::unique_ptr<Device>> OpenCudaDevice(int index) {
  const absl::StatusOr<int> gpus = CountCudaDevices();
  if (!gpus.ok()) return NoDevice(index, gpus.status().message());
  if (index >= *gpus) {
    return NoDevice(index, absl::StrCat("found ", *gpus, *gpus == 1 ? " GPU" : " GPUs",
                                        ", expected an index below that"));
  }
  // It stays loaded: what it registered with LibTorch cannot be taken back.
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return NoDevice(index, absl::StrCat("this installation has no CUDA library: ", dlerror()));
  }
  const auto open = reinterpret_cast<OpenCudaDeviceFunction>(dlsym(library, kOpenCudaDeviceSymbol));
  if (open == nullptr) return NoDevice(index, absl::StrCat(kLibrary, ": ", dlerror()));
  std::string error;
  std::unique_ptr<Device> device(open(index, &error));
  if (device == nullptr) return NoDevice(index, error);
  return device;
}

}  // namespace longwave
