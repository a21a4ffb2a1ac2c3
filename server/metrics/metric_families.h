#ifndef LONGWAVE_SERVER_METRICS_METRIC_FAMILIES_H_
#define LONGWAVE_SERVER_METRICS_METRIC_FAMILIES_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

namespace longwave {

// Every metric's name and help text, in one place. Internal to server/metrics; the references live
// as long as the registry.
struct MetricFamilies {
  explicit MetricFamilies(prometheus::Registry& registry);

  prometheus::Family<prometheus::Counter>& requests;
  prometheus::Family<prometheus::Counter>& inputs;
  prometheus::Family<prometheus::Counter>& tokens;
  prometheus::Family<prometheus::Counter>& padded_tokens;
  prometheus::Family<prometheus::Counter>& cache_hits;
  prometheus::Family<prometheus::Counter>& cache_misses;
  prometheus::Family<prometheus::Histogram>& batch_size;
  prometheus::Family<prometheus::Histogram>& batch_tokens;
  prometheus::Family<prometheus::Counter>& batches;
  prometheus::Family<prometheus::Counter>& batch_splits;
  prometheus::Family<prometheus::Counter>& yields;
  prometheus::Family<prometheus::Counter>& refusals;
  prometheus::Family<prometheus::Counter>& dropped_inputs;
  prometheus::Family<prometheus::Counter>& wasted_inputs;
  prometheus::Family<prometheus::Histogram>& queue_duration;
  prometheus::Family<prometheus::Histogram>& tokenize_duration;
  prometheus::Family<prometheus::Histogram>& compute_duration;
  prometheus::Family<prometheus::Histogram>& request_duration;
  prometheus::Family<prometheus::Gauge>& queue_tokens;
  prometheus::Family<prometheus::Gauge>& queue_inputs;
  prometheus::Family<prometheus::Gauge>& memory_reserved;
  prometheus::Family<prometheus::Gauge>& memory_budget;
  prometheus::Family<prometheus::Gauge>& requests_in_flight;
  prometheus::Family<prometheus::Gauge>& cache_bytes;
  prometheus::Family<prometheus::Gauge>& model_info;
  prometheus::Family<prometheus::Gauge>& model_attention_heads;
  prometheus::Family<prometheus::Gauge>& build_info;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_METRICS_METRIC_FAMILIES_H_
