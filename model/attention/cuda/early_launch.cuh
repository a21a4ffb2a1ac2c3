#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_EARLY_LAUNCH_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_EARLY_LAUNCH_CUH_

#include <cuda_runtime.h>

#include <limits>

#include "model/attention/cuda/per_device.h"

// Programmatic dependent launch (CUDA programming guide, "Programmatic Dependent Launch and
// Synchronization"): the next kernel of a stream is launched and set up while this one finishes.
namespace longwave::attention::cuda {

// Lets the next kernel of the stream be launched, if that is by LaunchEarly.
__device__ inline void LaunchDependents() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Until the kernels before this one are complete and what they wrote is visible.
__device__ inline void WaitForPredecessors() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// Launches a kernel of which every thread block calls WaitForPredecessors, before it touches what
// earlier kernels write or read. Not early where the library is not compiled for it.
template <typename... Parameters, typename... Arguments>
cudaError_t LaunchEarly(void (*kernel)(Parameters...), dim3 grid, dim3 threads, size_t bytes,
                        cudaStream_t stream, Arguments&&... arguments) {
  static OncePerDevice compiled;  // all of the library is, or nothing
  const bool early =
      compiled.Get([kernel] { return CompiledFor(kernel, 90, std::numeric_limits<int>::max()); });
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = threads;
  config.dynamicSmemBytes = bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = early ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, static_cast<Arguments&&>(arguments)...);
}

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_EARLY_LAUNCH_CUH_
