#ifndef LONGWAVE_BENCH_CALIBRATE_TIMER_H_
#define LONGWAVE_BENCH_CALIBRATE_TIMER_H_

#include <functional>
#include <memory>
#include <string>

#include "model/device/device.h"

namespace longwave::bench {

// Times work on a device: on the CPU by the clock; on a GPU as a graph, by the device's events, so
// that the host's part does not count. Throws c10::Error when the device fails.
class Timer {
 public:
  // device: as FindDevice() takes it.
  explicit Timer(const std::string& device);

  const DeviceInfo& info() const { return device_->info(); }

  // Milliseconds: the least of some runs, as other work on the machine only adds. `work` puts its
  // kernels on LibTorch's current stream and does not wait for them. as_graph: whether a GPU's
  // graph can hold it; if not, it is called.
  double Milliseconds(bool as_graph, const std::function<void()>& work);

 private:
  double OnCpu(const std::function<void()>& work);
  double OnGpu(bool as_graph, const std::function<void()>& work);

  Device* device_;
  std::unique_ptr<Stream> stream_;
};

}  // namespace longwave::bench

#endif  // LONGWAVE_BENCH_CALIBRATE_TIMER_H_
