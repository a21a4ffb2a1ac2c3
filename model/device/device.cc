#include "model/device/device.h"

#include <algorithm>

namespace longwave {

int64_t DeviceMemory::available() const {
  const int64_t cached = reserved - used;
  return std::max<int64_t>(0, std::min(limit - used, free + cached));
}

}  // namespace longwave
