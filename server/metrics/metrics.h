#ifndef LONGWAVE_SERVER_METRICS_METRICS_H_
#define LONGWAVE_SERVER_METRICS_METRICS_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/metrics/model_metrics.h"

namespace prometheus {
class Gauge;
class Registry;
}  // namespace prometheus

namespace longwave {

// All of a server's metrics. Thread-safe.
class Metrics {
 public:
  // Label of requests that name no model that is loaded. Names from requests never become labels,
  // or a client could create series without bound.
  static constexpr char kUnknownModel[] = "(unknown)";

  Metrics();
  ~Metrics();

  // Announces a loaded model and returns the series of its name, which all its versions share. They
  // live as long as this. `worker_devices`: the device of each worker of its batcher, at least one,
  // the same for all versions.
  ModelMetrics* AddModel(const std::string& model, int64_t version,
                         const std::vector<std::string>& worker_devices);

  // Announces the memory that batches may take of a device (0: no limit). The result is to be told
  // how much of it is reserved; it is thread-safe and does not outlive this.
  std::function<void(int64_t)> AddMemory(const std::string& device, int64_t budget_bytes);

  // `heads` heads of all layers of that model are computed by `algorithm` for an input of `tokens`
  // tokens. Calls for one algorithm add up.
  void AddAttentionPlan(const std::string& model, int64_t version, int64_t tokens,
                        const std::string& algorithm, int64_t heads);

  // The series of requests whose model is unknown.
  ModelMetrics* unknown_model() { return unknown_model_; }

  void OnRequestStart();
  void OnRequestEnd();

  // The result cache grew by so many bytes, or shrank.
  void OnCacheGrowth(int64_t bytes);

  // What an exposer serves.
  std::shared_ptr<prometheus::Registry> registry() { return registry_; }

 private:
  ModelMetrics* ForName(const std::string& model, const std::vector<std::string>& worker_devices)
      ABSL_LOCKS_EXCLUDED(mutex_);

  const std::shared_ptr<prometheus::Registry> registry_;
  const std::unique_ptr<MetricFamilies> families_;
  prometheus::Gauge* const requests_in_flight_;
  prometheus::Gauge* const cache_bytes_;

  absl::Mutex mutex_;
  std::map<std::string, std::unique_ptr<ModelMetrics>> models_ ABSL_GUARDED_BY(mutex_);
  ModelMetrics* const unknown_model_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_METRICS_METRICS_H_
