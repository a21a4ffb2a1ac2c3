#include "server/metrics/metrics.h"

#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include "absl/strings/str_cat.h"
#include "server/metrics/metric_families.h"
#include "server/version.h"

namespace longwave {

Metrics::Metrics()
    : registry_(std::make_shared<prometheus::Registry>()),
      families_(std::make_unique<MetricFamilies>(*registry_)),
      requests_in_flight_(&families_->requests_in_flight.Add({})),
      cache_bytes_(&families_->cache_bytes.Add({})),
      unknown_model_(ForName(kUnknownModel)) {
  families_->build_info.Add({{"version", kVersion}}).Set(1);
}

Metrics::~Metrics() = default;

ModelMetrics* Metrics::ForName(const std::string& model) {
  absl::MutexLock lock(&mutex_);
  std::unique_ptr<ModelMetrics>& metrics = models_[model];
  if (metrics == nullptr) metrics = std::make_unique<ModelMetrics>(*families_, model);
  return metrics.get();
}

ModelMetrics* Metrics::AddModel(const std::string& model, int64_t version,
                                const std::string& device) {
  families_->model_info
      .Add({{"model", model}, {"version", absl::StrCat(version)}, {"device", device}})
      .Set(1);
  return ForName(model);
}

void Metrics::OnRequestStart() { requests_in_flight_->Increment(); }

void Metrics::OnRequestEnd() { requests_in_flight_->Decrement(); }

void Metrics::OnCacheGrowth(int64_t bytes) { cache_bytes_->Increment(static_cast<double>(bytes)); }

}  // namespace longwave
