#ifndef LONGWAVE_BENCH_SERVING_LOAD_DRIVER_H_
#define LONGWAVE_BENCH_SERVING_LOAD_DRIVER_H_

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "bench/serving/class_stats.h"
#include "bench/serving/load_call.h"
#include "bench/serving/request_pool.h"
#include "bench/serving/traffic.h"

namespace longwave::bench {

// Whether a request that ended with `code` was refused, and not let in and then missed.
// DEADLINE_EXCEEDED is both: the server says it at once of a deadline that has passed or cannot be
// met, and later of work that it had let in and dropped. So it is a refusal within the first tenth
// of `time_limit`, the class's deadline, only.
bool IsRefusal(grpc::StatusCode code, absl::Duration latency, absl::Duration time_limit);

// Sends classes of traffic to a server, all at the same time, and judges every answer.
//
// One thread sends the open loops, at the nanosecond that their processes say or as soon after as
// the machine lets it (ClassStats::send_lag); others receive, and send the next request of a caller
// that has its answer. Thread-compatible.
class LoadDriver {
 public:
  struct Options {
    std::string server = "127.0.0.1:8470";
    int connections = 1;
    int threads = 1;  // that receive

    // Receiving threads ask again and again instead of sleeping, so that what it takes to wake
    // them, a tenth of a millisecond on some virtual machines, is not measured.
    bool spin = false;

    // Requests that are due in the first `warmup` are sent, but not measured.
    absl::Duration warmup = absl::Seconds(1);
    absl::Duration duration = absl::Seconds(10);

    // An RPC without a deadline of its class that takes longer is lost.
    absl::Duration lost_after = absl::Seconds(60);

    absl::Duration connect_timeout = absl::Seconds(10);

    int64_t vocab_size = 0;  // of the ids; 0: asks the server

    // How far an answer may be from what it was when it was asked for alone, see SameNumbers().
    double tolerance = kFloat32Tolerance;

    uint64_t seed = 1;

    // INVALID_ARGUMENT naming the option, what was found and what was expected.
    absl::Status Validate() const;
  };

  // Connects and learns the answers. Blocks. Errors are those of the options and of the server.
  static absl::StatusOr<std::unique_ptr<LoadDriver>> Create(const Options& options,
                                                            std::vector<TrafficClass> classes);
  ~LoadDriver();

  // Sends everything, calls `on_progress` about once a second with the time since the start, and
  // returns when every request has ended. Once.
  void Run(const std::function<void(absl::Duration)>& on_progress);

  const std::vector<TrafficClass>& classes() const { return classes_; }
  const ClassStats& stats(size_t traffic_class) const { return loads_[traffic_class]->stats; }

  // Names of classes some of whose requests have the same answer: there a mix-up could go
  // unnoticed.
  std::vector<std::string> ClassesWithEqualAnswers() const;

 private:
  // A class and what is known of it.
  struct ClassLoad {
    ClassLoad(const TrafficClass& traffic, int64_t vocab_size, uint64_t seed)
        : traffic(traffic),
          pool(traffic, vocab_size, seed),
          deck(static_cast<size_t>(traffic.pool), seed) {}

    const TrafficClass traffic;
    RequestPool pool;
    ClassStats stats;

    absl::Mutex mutex;
    Deck deck ABSL_GUARDED_BY(mutex);  // which request comes next
    // With `streams`: what each busy caller has still to send; a caller without an entry is idle.
    std::vector<std::deque<TimePoint>> waiting ABSL_GUARDED_BY(mutex);
    std::vector<bool> busy ABSL_GUARDED_BY(mutex);
  };

  LoadDriver(const Options& options, std::vector<TrafficClass> classes);

  absl::Status Connect();
  void Send(int traffic_class, int caller, TimePoint due);
  void SendOpenLoops();
  void Receive(grpc::CompletionQueue& queue);
  void OnEnded(LoadCall& call);
  void Record(LoadCall& call, TimePoint now);
  absl::Duration TimeLimit(const TrafficClass& traffic) const;

  const Options options_;
  const std::vector<TrafficClass> classes_;
  std::vector<Connection> connections_;
  std::vector<std::unique_ptr<grpc::CompletionQueue>> queues_;
  std::vector<std::unique_ptr<ClassLoad>> loads_;

  TimePoint start_;
  TimePoint measured_from_;
  TimePoint end_;
  std::atomic<uint64_t> next_route_{0};  // spreads calls over connections and queues
  std::atomic<int64_t> outstanding_{0};  // calls, and senders that may still make some
};

}  // namespace longwave::bench

#endif  // LONGWAVE_BENCH_SERVING_LOAD_DRIVER_H_
