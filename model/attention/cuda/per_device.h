#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_PER_DEVICE_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_PER_DEVICE_H_

#include <cuda_runtime.h>

#include <array>
#include <atomic>
#include <cstdint>

namespace longwave::attention::cuda {

// Whether the current device has what `ask` looks for, asked once for each device. Thread-safe.
class OncePerDevice {
 public:
  template <typename Ask>
  bool Get(const Ask& ask) {
    int device = 0;
    if (cudaGetDevice(&device) != cudaSuccess || device >= static_cast<int>(answers_.size())) {
      return ask();
    }
    std::atomic<int8_t>& answer = answers_[device];
    int8_t known = answer.load(std::memory_order_relaxed);
    if (known == kUnknown) {
      known = ask() ? kYes : kNo;
      answer.store(known, std::memory_order_relaxed);
    }
    return known == kYes;
  }

 private:
  static constexpr int8_t kUnknown = 0, kYes = 1, kNo = 2;
  std::array<std::atomic<int8_t>, 64> answers_{};
};

// Whether the current device runs code of `kernel` that was compiled for an architecture between
// `first` and `last` (90: sm_90), not for an earlier one and translated when it was loaded.
template <typename Kernel>
bool CompiledFor(Kernel* kernel, int first, int last) {
  cudaFuncAttributes attributes;
  if (cudaFuncGetAttributes(&attributes, kernel) != cudaSuccess) {
    cudaGetLastError();  // no code for this device
    return false;
  }
  return attributes.binaryVersion >= first && attributes.binaryVersion <= last &&
         attributes.ptxVersion >= first && attributes.ptxVersion <= last;
}

// Lets launches of `kernel` take as much dynamic shared memory as a thread block may have on the
// current device. Not only what the next launch takes: the limit is the kernel's, so that a thread
// that lowered it would make the launch of another one fail.
template <typename Kernel>
cudaError_t AllowSharedMemory(Kernel* kernel) {
  int device = 0, most = 0;
  cudaFuncAttributes attributes;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  }
  if (error == cudaSuccess) error = cudaFuncGetAttributes(&attributes, kernel);
  if (error != cudaSuccess) return error;
  return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              most - static_cast<int>(attributes.sharedSizeBytes));
}

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_PER_DEVICE_H_
