#ifndef LONGWAVE_MODEL_DEVICE_CPU_DEVICE_H_
#define LONGWAVE_MODEL_DEVICE_CPU_DEVICE_H_

#include <memory>

#include "model/device/device.h"

namespace longwave {

// The cores of this machine. Everything on a stream has ended when the call that queued it returns;
// a graph calls its function again.
class CpuDevice final : public Device {
 public:
  CpuDevice();

  const DeviceInfo& info() const override { return info_; }
  absl::StatusOr<std::unique_ptr<Stream>> CreateStream(StreamPriority priority) override;
  absl::StatusOr<std::unique_ptr<PinnedBuffer>> AllocatePinned(int64_t bytes) override;
  absl::StatusOr<DeviceMemory> Memory() const override;
  absl::Status SetMemoryLimit(int64_t bytes) override;
  void ResetPeakMemory() override {}
  absl::Status ReleaseCachedMemory() override { return absl::OkStatus(); }
  absl::Status Synchronize() override { return absl::OkStatus(); }

 private:
  DeviceInfo info_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_DEVICE_CPU_DEVICE_H_
