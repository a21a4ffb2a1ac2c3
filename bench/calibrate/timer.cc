#include "bench/calibrate/timer.h"

#include <c10/core/Event.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "absl/status/status.h"
#include "model/device/find_device.h"
#include "model/device/torch_device.h"

namespace longwave::bench {
namespace {

constexpr int kLeastRuns = 4;
constexpr double kLeastMilliseconds = 500;

// Replays between two events, and rounds of them, on a GPU.
constexpr double kReplayMilliseconds = 5;
constexpr int kMostReplays = 100;
constexpr int kRounds = 10;

void CheckOk(const absl::Status& status) { TORCH_CHECK(status.ok(), status.ToString()); }

template <typename T>
T ValueOf(absl::StatusOr<T> value) {
  CheckOk(value.status());
  return *std::move(value);
}

}  // namespace

Timer::Timer(const std::string& device)
    : device_(ValueOf(FindDevice(device))),
      stream_(ValueOf(device_->CreateStream(StreamPriority::kNormal))) {}

double Timer::Milliseconds(bool as_graph, const std::function<void()>& work) {
  return device_->info().is_cuda ? OnGpu(as_graph, work) : OnCpu(work);
}

double Timer::OnCpu(const std::function<void()>& work) {
  using Milliseconds = std::chrono::duration<double, std::milli>;
  double best = std::numeric_limits<double>::infinity(), spent = 0;
  for (int run = 0; run < kLeastRuns || spent < kLeastMilliseconds; ++run) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const Milliseconds time = std::chrono::steady_clock::now() - start;
    spent += time.count();
    best = std::min(best, time.count());
  }
  return best;
}

double Timer::OnGpu(bool as_graph, const std::function<void()>& work) {
  const auto launch = [&work] {
    work();
    return absl::OkStatus();
  };
  CheckOk(stream_->Run(launch));
  CheckOk(stream_->Synchronize());
  std::unique_ptr<Graph> graph;
  if (as_graph) graph = ValueOf(stream_->Capture(launch));
  double best = std::numeric_limits<double>::infinity();
  int replays = 1;
  for (int round = 0; round < kRounds; ++round) {
    c10::Event begin(c10::kCUDA, c10::EventFlag::BACKEND_DEFAULT);
    c10::Event end(c10::kCUDA, c10::EventFlag::BACKEND_DEFAULT);
    const auto record = [&](c10::Event& event) {
      CheckOk(stream_->Run([&] {
        const c10::impl::VirtualGuardImpl guard(c10::kCUDA);
        event.record(guard.getStream(TorchDevice(device_->info())));
        return absl::OkStatus();
      }));
    };
    record(begin);
    for (int i = 0; i < replays; ++i)
      CheckOk(graph != nullptr ? graph->Replay() : stream_->Run(launch));
    record(end);
    CheckOk(stream_->Synchronize());
    const double ms = begin.elapsedTime(end) / replays;
    if (round > 0) best = std::min(best, ms);
    replays = std::clamp(static_cast<int>(kReplayMilliseconds / ms), 1, kMostReplays);
  }
  return best;
}

}  // namespace longwave::bench
