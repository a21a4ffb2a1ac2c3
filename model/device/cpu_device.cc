#include "model/device/cpu_device.h"

#include <unistd.h>

#include <new>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/device/torch_guard.h"

namespace longwave {
namespace {

class CpuEvent final : public Event {
 public:
  bool Done() const override { return true; }
  absl::Status Wait() const override { return absl::OkStatus(); }
};

class CpuGraph final : public Graph {
 public:
  explicit CpuGraph(std::function<absl::Status()> launch) : launch_(std::move(launch)) {}
  absl::Status Replay() override { return GuardTorch(launch_); }

 private:
  const std::function<absl::Status()> launch_;
};

class CpuStream final : public Stream {
 public:
  absl::Status Run(absl::FunctionRef<absl::Status()> launch) override { return GuardTorch(launch); }
  absl::StatusOr<std::unique_ptr<Graph>> Capture(std::function<absl::Status()> launch) override {
    return std::make_unique<CpuGraph>(std::move(launch));
  }
  absl::StatusOr<std::unique_ptr<Event>> Record() override { return std::make_unique<CpuEvent>(); }
  absl::Status Synchronize() override { return absl::OkStatus(); }
};

class HostBuffer final : public PinnedBuffer {
 public:
  explicit HostBuffer(int64_t bytes) : size_(bytes), data_(new uint64_t[(bytes + 7) / 8]) {}
  void* data() override { return data_.get(); }
  int64_t size() const override { return size_; }

 private:
  const int64_t size_;
  const std::unique_ptr<uint64_t[]> data_;  // aligned for every type that is copied
};

}  // namespace

CpuDevice::CpuDevice() {
  info_.name = "cpu";
  info_.description = absl::StrCat(std::thread::hardware_concurrency(), " cores");
}

absl::StatusOr<std::unique_ptr<Stream>> CpuDevice::CreateStream(StreamPriority) {
  return std::make_unique<CpuStream>();
}

absl::StatusOr<std::unique_ptr<PinnedBuffer>> CpuDevice::AllocatePinned(int64_t bytes) {
  std::unique_ptr<PinnedBuffer> buffer;
  const absl::Status status = GuardTorch([&] {
    buffer = std::make_unique<HostBuffer>(bytes);
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return buffer;
}

absl::StatusOr<DeviceMemory> CpuDevice::Memory() const {
  const int64_t page = sysconf(_SC_PAGESIZE);
  DeviceMemory memory;
  memory.total = sysconf(_SC_PHYS_PAGES) * page;
  memory.free = sysconf(_SC_AVPHYS_PAGES) * page;
  memory.limit = memory.total;
  return memory;
}

absl::Status CpuDevice::SetMemoryLimit(int64_t) {
  return absl::UnimplementedError("memory limit: the CPU has no allocator of its own to limit");
}

}  // namespace longwave
