#ifndef LONGWAVE_BENCH_SERVING_CLASS_STATS_H_
#define LONGWAVE_BENCH_SERVING_CLASS_STATS_H_

#include <array>
#include <atomic>
#include <cstdint>

#include "bench/serving/latency_histogram.h"

namespace longwave::bench {

// What became of one class's requests. Thread-safe.
//
// Every request that was due within the measured time is in exactly one of the first three
// histograms. The counters below them are over the whole run, warm-up included: a wrong answer is a
// failure whenever it comes.
struct ClassStats {
  LatencyHistogram answered;  // OK and the right answer
  LatencyHistogram refused;   // not let in: IsRefusal() of load_driver.h
  LatencyHistogram failed;    // everything else: let in and then dropped or late, wrong answers too

  LatencyHistogram send_lag;  // from when a request was due to when it was sent
  LatencyHistogram queue;     // as the server reports them, of the answered requests
  LatencyHistogram compute;
  LatencyHistogram total;

  std::atomic<int64_t> tokens{0};       // of the answered
  std::atomic<int64_t> in_deadline{0};  // answered in time, as the client's clock says

  std::atomic<int64_t> sent{0};
  std::atomic<int64_t> ended{0};       // with any status
  std::atomic<int64_t> wrong{0};       // OK, but not the answer to that request
  std::atomic<int64_t> lost{0};        // no answer within the time limit of a call
  std::atomic<int64_t> duplicated{0};  // rows of a stream that had come already
  std::array<std::atomic<int64_t>, 17> by_code{};
};

}  // namespace longwave::bench

#endif  // LONGWAVE_BENCH_SERVING_CLASS_STATS_H_
