#ifndef LONGWAVE_MODEL_DEVICE_TORCH_DEVICE_H_
#define LONGWAVE_MODEL_DEVICE_TORCH_DEVICE_H_

#include <c10/core/Device.h>

#include "model/device/device.h"

namespace longwave {

// Where LibTorch's tensors of a device are. For .cc files only: it shows torch types.
inline c10::Device TorchDevice(const DeviceInfo& info) {
  if (!info.is_cuda) return c10::Device(c10::kCPU);
  return c10::Device(c10::kCUDA, static_cast<c10::DeviceIndex>(info.index));
}

}  // namespace longwave

#endif  // LONGWAVE_MODEL_DEVICE_TORCH_DEVICE_H_
