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
      unknown_model_(ForName(kUnknownModel, {})) {
  families_->build_info.Add({{"version", kVersion}}).Set(1);
}

Metrics::~Metrics() = default;

ModelMetrics* Metrics::ForName(const std::string& model,
                               const std::vector<std::string>& worker_devices) {
  absl::MutexLock lock(&mutex_);
  std::unique_ptr<ModelMetrics>& metrics = models_[model];
  if (metrics == nullptr) {
    metrics = std::make_unique<ModelMetrics>(*families_, model, worker_devices);
  }
  return metrics.get();
}

ModelMetrics* Metrics::AddModel(const std::string& model, int64_t version,
                                const std::vector<std::string>& worker_devices) {
  for (const std::string& device : worker_devices) {  // adding one again is no change
    families_->model_info
        .Add({{"model", model}, {"version", absl::StrCat(version)}, {"device", device}})
        .Set(1);
  }
  return ForName(model, worker_devices);
}

std::function<void(int64_t)> Metrics::AddMemory(const std::string& device, int64_t budget_bytes) {
  families_->memory_budget.Add({{"device", device}}).Set(static_cast<double>(budget_bytes));
  prometheus::Gauge* const reserved = &families_->memory_reserved.Add({{"device", device}});
  return [reserved](int64_t bytes) { reserved->Set(static_cast<double>(bytes)); };
}

void Metrics::AddAttentionPlan(const std::string& model, int64_t version, int64_t tokens,
                               const std::string& algorithm, int64_t heads) {
  families_->model_attention_heads
      .Add({{"model", model},
            {"version", absl::StrCat(version)},
            {"tokens", absl::StrCat(tokens)},
            {"algorithm", algorithm}})
      .Increment(static_cast<double>(heads));
}

void Metrics::OnRequestStart() { requests_in_flight_->Increment(); }

void Metrics::OnRequestEnd() { requests_in_flight_->Decrement(); }

void Metrics::OnCacheGrowth(int64_t bytes) { cache_bytes_->Increment(static_cast<double>(bytes)); }

}  // namespace longwave
