#ifndef LONGWAVE_BENCH_ENCODER_GPU_TIMING_H_
#define LONGWAVE_BENCH_ENCODER_GPU_TIMING_H_

#include <functional>
#include <nlohmann/json.hpp>

#include "model/device/device.h"

namespace longwave::bench {

struct TimingOptions {
  int warm_up = 3;
  int runs = 20;
  double max_seconds = 3;  // fewer runs rather than longer; of warm-up a tenth
};

// Times `work` on the stream by the device's events, from its first kernel to its last; each run
// alone. {"median_ms", "min_ms", "max_ms", "runs"}. Throws c10::Error when it fails.
nlohmann::json Time(Stream& stream, const DeviceInfo& device, const TimingOptions& options,
                    const std::function<void()>& work);

// Throws c10::Error unless the status is OK.
void CheckOk(const absl::Status& status);

}  // namespace longwave::bench

#endif  // LONGWAVE_BENCH_ENCODER_GPU_TIMING_H_
