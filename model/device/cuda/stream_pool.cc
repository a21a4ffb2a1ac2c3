#include "model/device/cuda/stream_pool.h"

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <cuda_runtime_api.h>

namespace longwave {
namespace {

// Less is sooner; 0 is what work without a stream has. A GPU with fewer takes the nearest.
int PriorityOf(StreamPriority priority) {
  switch (priority) {
    case StreamPriority::kHigh:
      return -2;
    case StreamPriority::kNormal:
      return -1;
    case StreamPriority::kLow:
      return 0;
  }
  return 0;
}

}  // namespace

StreamPool::~StreamPool() {
  for (const cudaStream_t stream : all_) C10_CUDA_CHECK_WARN(cudaStreamDestroy(stream));
}

c10::cuda::CUDAStream StreamPool::Take(StreamPriority priority) {
  const absl::MutexLock lock(&mutex_);
  if (std::vector<c10::cuda::CUDAStream>& idle = idle_[priority]; !idle.empty()) {
    const c10::cuda::CUDAStream stream = idle.back();
    idle.pop_back();
    return stream;
  }
  const c10::cuda::CUDAGuard guard(device_);
  cudaStream_t stream = nullptr;
  C10_CUDA_CHECK(
      cudaStreamCreateWithPriority(&stream, cudaStreamNonBlocking, PriorityOf(priority)));
  all_.push_back(stream);
  return c10::cuda::getStreamFromExternal(stream, device_);
}

void StreamPool::Return(const c10::cuda::CUDAStream& stream, StreamPriority priority) {
  const absl::MutexLock lock(&mutex_);
  idle_[priority].push_back(stream);
}

}  // namespace longwave
