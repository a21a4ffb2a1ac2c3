#ifndef LONGWAVE_SERVER_METRICS_MODEL_METRICS_H_
#define LONGWAVE_SERVER_METRICS_MODEL_METRICS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/batching/batch_observer.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
}  // namespace prometheus

namespace longwave {

struct MetricFamilies;

enum class Rpc { kEncode, kEncodeStream, kClassify };
inline constexpr int kRpcCount = 3;

// Number of canonical status codes, OK to UNAUTHENTICATED.
inline constexpr int kStatusCodeCount = 17;

// The series of one model name. All of them exist, at zero, from construction on. Thread-safe; no
// call blocks.
class ModelMetrics final : public BatchObserver {
 public:
  // Adds the series to `families`, which must outlive this. `worker_devices`: the device of each
  // worker that OnBatchDone() may name.
  ModelMetrics(MetricFamilies& families, const std::string& model,
               const std::vector<std::string>& worker_devices);

  ModelMetrics(const ModelMetrics&) = delete;
  ModelMetrics& operator=(const ModelMetrics&) = delete;

  // A request ended, well or not, `duration` after it arrived.
  void OnRequestDone(Rpc rpc, absl::StatusCode code, absl::Duration duration);

  // So many inputs of a request got this status.
  void OnInputsDone(absl::StatusCode code, int64_t count);

  // The inputs of a request were turned into token ids.
  void OnTokenized(absl::Duration duration);

  // An input's result was looked up in the cache.
  void OnCacheLookup(bool hit);

  // BatchObserver:
  void OnQueueChange(int64_t tokens, int64_t items) override;
  void OnRefused(Refusal reason) override;
  void OnItemDequeued(absl::Duration waited) override;
  void OnItemDropped(Drop reason) override;
  void OnBatchDone(int worker, Lane lane, int64_t items, int64_t tokens,
                   absl::Duration compute) override;
  void OnBatchSplit() override;
  void OnItemsWasted(int64_t items) override;
  void OnYield() override;

 private:
  using CountersByCode = std::array<prometheus::Counter*, kStatusCodeCount>;

  // Of the device of a worker.
  struct DeviceSeries {
    std::array<prometheus::Counter*, kLaneCount> batches;
    prometheus::Histogram* compute_duration;
  };

  std::array<CountersByCode, kRpcCount> requests_;
  std::array<prometheus::Histogram*, kRpcCount> request_duration_;
  CountersByCode inputs_;
  prometheus::Counter* tokens_;
  prometheus::Counter* cache_hits_;
  prometheus::Counter* cache_misses_;
  prometheus::Histogram* batch_size_;
  prometheus::Histogram* batch_tokens_;
  prometheus::Histogram* queue_duration_;
  prometheus::Histogram* tokenize_duration_;
  std::vector<DeviceSeries> by_worker_;
  std::array<prometheus::Counter*, kRefusalCount> refusals_;
  std::array<prometheus::Counter*, kDropCount> dropped_inputs_;
  prometheus::Counter* wasted_inputs_;
  prometheus::Counter* batch_splits_;
  prometheus::Counter* yields_;
  prometheus::Gauge* queue_tokens_;
  prometheus::Gauge* queue_inputs_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_METRICS_MODEL_METRICS_H_
