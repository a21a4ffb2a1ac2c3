#ifndef LONGWAVE_MODEL_DEVICE_CUDA_STREAM_POOL_H_
#define LONGWAVE_MODEL_DEVICE_CUDA_STREAM_POOL_H_

#include <c10/core/Device.h>
#include <c10/cuda/CUDAStream.h>

#include <map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "model/device/device.h"

namespace longwave {

// The streams of a GPU, each lent to one owner at a time, as many as are asked for; LibTorch's own
// go round among 32. They live as long as the pool: LibTorch's allocators keep memory by stream,
// and record an event in every stream that has used some when it is freed, however late that is.
// Thread-safe.
class StreamPool {
 public:
  explicit StreamPool(c10::DeviceIndex device) : device_(device) {}
  StreamPool(const StreamPool&) = delete;
  StreamPool& operator=(const StreamPool&) = delete;
  // Nothing that was allocated on a stream may be left.
  ~StreamPool();

  // A stream that nobody else has. Does not wait for the default stream, nor that one for it. May
  // throw c10::Error.
  c10::cuda::CUDAStream Take(StreamPriority priority);

  // Gives it back. What is queued in it still runs, before anything of its next owner.
  void Return(const c10::cuda::CUDAStream& stream, StreamPriority priority);

 private:
  const c10::DeviceIndex device_;
  absl::Mutex mutex_;
  std::vector<cudaStream_t> all_ ABSL_GUARDED_BY(mutex_);
  std::map<StreamPriority, std::vector<c10::cuda::CUDAStream>> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_DEVICE_CUDA_STREAM_POOL_H_
