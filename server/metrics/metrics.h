#ifndef LONGWAVE_SERVER_METRICS_METRICS_H_
#define LONGWAVE_SERVER_METRICS_METRICS_H_

#include <map>
#include <memory>
#include <string>

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
  // live as long as this.
  ModelMetrics* AddModel(const std::string& model, int64_t version, const std::string& device);

  // The series of requests whose model is unknown.
  ModelMetrics* unknown_model() { return unknown_model_; }

  void OnRequestStart();
  void OnRequestEnd();

  // The result cache grew by so many bytes, or shrank.
  void OnCacheGrowth(int64_t bytes);

  // What an exposer serves.
  std::shared_ptr<prometheus::Registry> registry() { return registry_; }

 private:
  ModelMetrics* ForName(const std::string& model) ABSL_LOCKS_EXCLUDED(mutex_);

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
