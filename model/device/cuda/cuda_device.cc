// The GPUs of this machine, through LibTorch's streams and allocator, so that tensors and this
// interface speak of the same things.
#include <ATen/Context.h>
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/cuda/CUDAContext.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/device/cuda/stream_pool.h"
#include "model/device/cuda_library.h"
#include "model/device/device.h"
#include "model/device/torch_guard.h"

namespace longwave {
namespace {

namespace allocator = c10::cuda::CUDACachingAllocator;

class CudaEvent final : public Event {
 public:
  // May throw c10::Error, as every constructor here.
  explicit CudaEvent(const c10::cuda::CUDAStream& stream) {
    const c10::cuda::CUDAGuard guard(stream.device_index());
    C10_CUDA_CHECK(
        cudaEventCreateWithFlags(&event_, cudaEventDisableTiming | cudaEventBlockingSync));
    C10_CUDA_CHECK(cudaEventRecord(event_, stream));
  }
  ~CudaEvent() override { C10_CUDA_CHECK_WARN(cudaEventDestroy(event_)); }

  bool Done() const override {
    const cudaError_t error = cudaEventQuery(event_);
    if (error != cudaErrorNotReady) return true;
    (void)cudaGetLastError();  // "not ready" is kept as the last error
    return false;
  }

  // Asks for a while, which answers soonest, then sleeps, which leaves the core to others.
  absl::Status Wait() const override {
    for (int i = 0; i < kQueries; ++i) {
      if (Done()) break;
    }
    return GuardTorch([&] {
      C10_CUDA_CHECK(cudaEventSynchronize(event_));
      return absl::OkStatus();
    });
  }

 private:
  static constexpr int kQueries = 2000;  // of half a microsecond or more each

  cudaEvent_t event_ = nullptr;
};

// The memory that the graphs of a stream share. Once no graph is left, LibTorch takes its name for
// used up.
struct GraphPool {
  const at::MempoolId_t id = at::cuda::graph_pool_handle();
};

class CudaGraph final : public Graph {
 public:
  CudaGraph(const c10::cuda::CUDAStream& stream, std::shared_ptr<GraphPool> pool,
            const std::function<absl::Status()>& launch)
      : stream_(stream), pool_(std::move(pool)) {
    const c10::cuda::CUDAStreamGuard guard(stream_);
    try {
      // Other threads may allocate, copy and wait meanwhile: only this one is watched.
      graph_.capture_begin(pool_->id, cudaStreamCaptureModeThreadLocal);
      if (const absl::Status status = launch(); !status.ok()) {
        C10_THROW_ERROR(Error, std::string(status.message()));
      }
      graph_.capture_end();
    } catch (...) {
      EndFailedCapture();
      throw;
    }
  }

  absl::Status Replay() override {
    return GuardTorch([&] {
      const c10::cuda::CUDAStreamGuard guard(stream_);
      graph_.replay();
      return absl::OkStatus();
    });
  }

 private:
  // The stream and the allocators must leave the capture whatever went wrong in it, its end
  // included: else they would ask a graph that is gone whose memory the next tensor is to have.
  void EndFailedCapture() {
    cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    C10_CUDA_CHECK_WARN(cudaStreamIsCapturing(stream_, &capturing));
    if (capturing != cudaStreamCaptureStatusNone) {
      try {
        graph_.capture_end();
        return;  // its pools are released with the graph
      } catch (const c10::Error&) {
      }
    }
    (void)cudaGetLastError();
    // An end that failed early has left these out, and then the graph will not release its pools.
    try {
      allocator::endAllocateToPool(stream_.device_index(), pool_->id);
      allocator::releasePool(stream_.device_index(), pool_->id);
    } catch (const c10::Error&) {
    }
    try {
      at::getHostAllocator(at::kCUDA)->end_allocate_to_pool(pool_->id);
      at::getHostAllocator(at::kCUDA)->release_pool(pool_->id);
    } catch (const c10::Error&) {
    }
  }

  const c10::cuda::CUDAStream stream_;
  const std::shared_ptr<GraphPool> pool_;
  at::cuda::CUDAGraph graph_;
};

class CudaStream final : public Stream {
 public:
  // May throw c10::Error. The pool must outlive the stream.
  CudaStream(StreamPool* pool, StreamPriority priority)
      : pool_(pool), priority_(priority), stream_(pool->Take(priority)) {}
  ~CudaStream() override { pool_->Return(stream_, priority_); }

  absl::Status Run(absl::FunctionRef<absl::Status()> launch) override {
    return GuardTorch([&] {
      const c10::cuda::CUDAStreamGuard guard(stream_);
      return launch();
    });
  }

  absl::StatusOr<std::unique_ptr<Graph>> Capture(std::function<absl::Status()> launch) override {
    std::unique_ptr<Graph> graph;
    const absl::Status status = GuardTorch([&] {
      std::shared_ptr<GraphPool> pool = graph_pool_.lock();
      if (pool == nullptr) graph_pool_ = pool = std::make_shared<GraphPool>();
      graph = std::make_unique<CudaGraph>(stream_, std::move(pool), launch);
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return graph;
  }

  absl::StatusOr<std::unique_ptr<Event>> Record() override {
    std::unique_ptr<Event> event;
    const absl::Status status = GuardTorch([&] {
      event = std::make_unique<CudaEvent>(stream_);
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return event;
  }

  absl::Status Synchronize() override {
    return GuardTorch([&] {
      stream_.synchronize();
      return absl::OkStatus();
    });
  }

 private:
  StreamPool* const pool_;
  const StreamPriority priority_;
  const c10::cuda::CUDAStream stream_;
  std::weak_ptr<GraphPool> graph_pool_;  // of the graphs that are left
};

class CudaPinnedBuffer final : public PinnedBuffer {
 public:
  explicit CudaPinnedBuffer(int64_t bytes)
      : size_(bytes), memory_(at::getHostAllocator(at::kCUDA)->allocate(bytes)) {}
  void* data() override { return memory_.get(); }
  int64_t size() const override { return size_; }

 private:
  const int64_t size_;
  const at::DataPtr memory_;
};

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int index) : index_(static_cast<c10::DeviceIndex>(index)), streams_(index_) {
    const c10::cuda::CUDAGuard guard(index_);
    const cudaDeviceProp& properties = *at::cuda::getDeviceProperties(index_);
    info_.name = absl::StrCat("cuda:", index);
    info_.description = absl::StrCat(properties.name, ", compute capability ", properties.major,
                                     ".", properties.minor);
    info_.is_cuda = true;
    info_.index = index;
    info_.shares_streams = true;
    info_.fast_graphs = true;
    // Partial sums of split products are added in float32: the error promised for bfloat16 and
    // float16 counts on it.
    at::globalContext().setAllowBF16ReductionCuBLAS(false);
    at::globalContext().setAllowFP16ReductionCuBLAS(false);
    allocator::init(c10::cuda::device_count());
    total_ = static_cast<int64_t>(properties.totalGlobalMem);
    limit_ = total_;
  }

  const DeviceInfo& info() const override { return info_; }

  absl::StatusOr<std::unique_ptr<Stream>> CreateStream(StreamPriority priority) override {
    std::unique_ptr<Stream> stream;
    const absl::Status status = GuardTorch([&] {
      stream = std::make_unique<CudaStream>(&streams_, priority);
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return stream;
  }

  absl::StatusOr<std::unique_ptr<PinnedBuffer>> AllocatePinned(int64_t bytes) override {
    std::unique_ptr<PinnedBuffer> buffer;
    const absl::Status status = GuardTorch([&] {
      const c10::cuda::CUDAGuard guard(index_);
      buffer = std::make_unique<CudaPinnedBuffer>(bytes);
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return buffer;
  }

  absl::StatusOr<DeviceMemory> Memory() const override {
    DeviceMemory memory;
    const absl::Status status = GuardTorch([&] {
      const c10::cuda::CUDAGuard guard(index_);
      size_t free = 0, total = 0;
      C10_CUDA_CHECK(cudaMemGetInfo(&free, &total));
      constexpr auto kAll = static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE);
      const auto stats = allocator::getDeviceStats(index_);
      memory.total = total_;
      memory.free = static_cast<int64_t>(free);
      memory.limit = limit_;
      memory.used = stats.allocated_bytes[kAll].current;
      memory.reserved = stats.reserved_bytes[kAll].current;
      memory.peak_used = stats.allocated_bytes[kAll].peak;
      return absl::OkStatus();
    });
    if (!status.ok()) return status;
    return memory;
  }

  absl::Status SetMemoryLimit(int64_t bytes) override {
    if (bytes < 1 || bytes > total_) {
      return absl::InvalidArgumentError(absl::StrCat(
          "memory limit: found ", bytes, ", expected 1 to the ", total_, " bytes of ", info_.name));
    }
    return GuardTorch([&] {
      allocator::setMemoryFraction(static_cast<double>(bytes) / static_cast<double>(total_),
                                   index_);
      limit_ = bytes;
      return absl::OkStatus();
    });
  }

  void ResetPeakMemory() override { allocator::resetPeakStats(index_); }

  absl::Status ReleaseCachedMemory() override {
    return GuardTorch([&] {
      const c10::cuda::CUDAGuard guard(index_);
      allocator::emptyCache();
      return absl::OkStatus();
    });
  }

  absl::Status Synchronize() override {
    return GuardTorch([&] {
      const c10::cuda::CUDAGuard guard(index_);
      c10::cuda::device_synchronize();
      return absl::OkStatus();
    });
  }

 private:
  const c10::DeviceIndex index_;
  StreamPool streams_;
  DeviceInfo info_;
  int64_t total_ = 0;
  std::atomic<int64_t> limit_{0};
};

}  // namespace
}  // namespace longwave

extern "C" __attribute__((visibility("default"))) longwave::Device* longwave_open_cuda_device(
    int index, std::string* error) {
  longwave::Device* device = nullptr;
  const absl::Status status = longwave::GuardTorch([&] {
    device = new longwave::CudaDevice(index);
    return absl::OkStatus();
  });
  if (!status.ok()) *error = std::string(status.message());
  return device;
}
