#include "bench/encoder_gpu/timing.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "model/device/torch_device.h"

namespace longwave::bench {

void CheckOk(const absl::Status& status) { TORCH_CHECK(status.ok(), status.ToString()); }

nlohmann::json Time(Stream& stream, const DeviceInfo& device, const TimingOptions& options,
                    const std::function<void()>& work) {
  std::vector<double> times;
  CheckOk(stream.Run([&] {
    const c10::impl::VirtualGuardImpl guard(c10::kCUDA);
    const c10::Stream current = guard.getStream(TorchDevice(device));
    auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < options.warm_up; ++i) {
      work();
      current.synchronize();
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
      if (elapsed.count() > options.max_seconds / 10) break;
    }
    start = std::chrono::steady_clock::now();
    for (int i = 0; i < options.runs; ++i) {
      c10::Event begin(c10::kCUDA, c10::EventFlag::BACKEND_DEFAULT);
      c10::Event end(c10::kCUDA, c10::EventFlag::BACKEND_DEFAULT);
      current.synchronize();
      begin.record(current);
      work();
      end.record(current);
      end.synchronize();
      times.push_back(begin.elapsedTime(end));
      const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
      if (elapsed.count() > options.max_seconds) break;
    }
    return absl::OkStatus();
  }));
  std::sort(times.begin(), times.end());
  return {{"median_ms", times[times.size() / 2]},
          {"min_ms", times.front()},
          {"max_ms", times.back()},
          {"runs", times.size()}};
}

}  // namespace longwave::bench
