#ifndef LONGWAVE_BENCH_SERVING_TRAFFIC_H_
#define LONGWAVE_BENCH_SERVING_TRAFFIC_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace longwave::bench {

enum class LoadRpc { kEncode, kEncodeStream, kClassify };

// One kind of traffic: what its requests are like, and when they are sent. Either `rate` or
// `concurrency` is set:
//   concurrency               closed loop: so many callers, each sends when it has its answer
//   rate                      open loop: a Poisson process that waits for nobody
//   rate and streams          the same arrivals dealt out at random to so many callers, each of
//   which
//                             has one request under way and keeps the others waiting
// The latency of an open loop counts from the time that the process said, not from when the request
// could be sent, so a server that stalls cannot hide it by being asked less (coordinated omission).
struct TrafficClass {
  std::string name;
  LoadRpc rpc = LoadRpc::kEncode;

  // Token ids of one input: log-uniform between these, both included.
  int64_t min_tokens = 512;
  int64_t max_tokens = 512;

  int inputs = 1;  // of one request

  double rate = 0;  // requests per second
  int concurrency = 0;
  int streams = 0;

  // From the time that the request was due; also the deadline of the RPC.
  absl::Duration deadline = absl::InfiniteDuration();

  // Different requests, dealt in a random order, each as often as any other. Each has an answer of
  // its own.
  int pool = 64;

  // API key that the requests carry as metadata "authorization: Bearer KEY"; empty: none.
  std::string key;
};

// Parses "NAME:KEY=VALUE,...", as longwave-load --help describes it:
// "short:length=64..4096,rate=50". INVALID_ARGUMENT naming the part, what was found and what was
// expected.
absl::StatusOr<TrafficClass> ParseTrafficClass(absl::string_view text);

// `count` lengths of the class's distribution. The same for the same seed.
std::vector<int64_t> DrawLengths(const TrafficClass& traffic, int count, uint64_t seed);

// Deals 0 to count - 1 in a random order, each once before any comes again. So different programs
// that deal the same lengths send the same mix.
class Deck {
 public:
  // count: at least 1.
  Deck(size_t count, uint64_t seed);

  size_t Deal();

 private:
  std::mt19937_64 random_;
  std::vector<size_t> cards_;
  size_t next_ = 0;
};

// The times of a Poisson process of `rate` events per second, one after the other.
class PoissonProcess {
 public:
  // `rate` is positive.
  PoissonProcess(double rate, uint64_t seed) : gap_(rate), random_(seed) {}

  // Time from the start to the next event.
  absl::Duration Next() {
    seconds_ += gap_(random_);
    return absl::Seconds(seconds_);
  }

 private:
  std::exponential_distribution<double> gap_;
  std::mt19937_64 random_;
  double seconds_ = 0;
};

}  // namespace longwave::bench

#endif  // LONGWAVE_BENCH_SERVING_TRAFFIC_H_
