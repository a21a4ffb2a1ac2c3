#include "server/metrics/model_metrics.h"

#include "server/metrics/buckets.h"
#include "server/metrics/metric_families.h"

namespace longwave {
namespace {

constexpr const char* kRpcNames[kRpcCount] = {"Encode", "EncodeStream", "Classify"};

constexpr const char* kLaneNames[kLaneCount] = {"short", "long"};
constexpr const char* kRefusalNames[kRefusalCount] = {"queue_full", "deadline", "too_large",
                                                      "draining"};
constexpr const char* kDropNames[kDropCount] = {"expired", "cancelled", "memory", "draining"};

// One counter for each value of a label besides `labels`.
template <size_t kCount>
std::array<prometheus::Counter*, kCount> AddByLabel(prometheus::Family<prometheus::Counter>& family,
                                                    prometheus::Labels labels, const char* label,
                                                    const char* const (&names)[kCount]) {
  std::array<prometheus::Counter*, kCount> counters{};
  for (size_t i = 0; i < kCount; ++i) {
    labels[label] = names[i];
    counters[i] = &family.Add(labels);
  }
  return counters;
}

// What the service's contract allows to come out (inference.proto). Anything else is a bug and
// counted as INTERNAL.
constexpr absl::StatusCode kCodes[] = {
    absl::StatusCode::kOk,
    absl::StatusCode::kCancelled,
    absl::StatusCode::kInvalidArgument,
    absl::StatusCode::kDeadlineExceeded,
    absl::StatusCode::kNotFound,
    absl::StatusCode::kResourceExhausted,
    absl::StatusCode::kOutOfRange,
    absl::StatusCode::kInternal,
    absl::StatusCode::kUnavailable,
};

std::array<prometheus::Counter*, kStatusCodeCount> AddByCode(
    prometheus::Family<prometheus::Counter>& family, prometheus::Labels labels) {
  std::array<prometheus::Counter*, kStatusCodeCount> counters{};
  for (const absl::StatusCode code : kCodes) {
    labels["code"] = absl::StatusCodeToString(code);
    counters[static_cast<int>(code)] = &family.Add(labels);
  }
  for (prometheus::Counter*& counter : counters) {
    if (counter == nullptr) counter = counters[static_cast<int>(absl::StatusCode::kInternal)];
  }
  return counters;
}

}  // namespace

ModelMetrics::ModelMetrics(MetricFamilies& families, const std::string& model,
                           const std::vector<std::string>& worker_devices) {
  const prometheus::Labels labels = {{"model", model}};
  const std::vector<double> durations = DurationBuckets();
  for (int rpc = 0; rpc < kRpcCount; ++rpc) {
    const prometheus::Labels rpc_labels = {{"model", model}, {"rpc", kRpcNames[rpc]}};
    requests_[rpc] = AddByCode(families.requests, rpc_labels);
    request_duration_[rpc] = &families.request_duration.Add(rpc_labels, durations);
  }
  inputs_ = AddByCode(families.inputs, labels);
  tokens_ = &families.tokens.Add(labels);
  families.padded_tokens.Add(labels);  // stays 0: batches are packed
  cache_hits_ = &families.cache_hits.Add(labels);
  cache_misses_ = &families.cache_misses.Add(labels);
  batch_size_ = &families.batch_size.Add(labels, PowerOfTwoBuckets(1, 4096));
  batch_tokens_ = &families.batch_tokens.Add(labels, PowerOfTwoBuckets(16, 1 << 24));
  queue_duration_ = &families.queue_duration.Add(labels, durations);
  tokenize_duration_ = &families.tokenize_duration.Add(labels, durations);
  for (const std::string& device : worker_devices) {  // workers of one device share its series
    const prometheus::Labels device_labels = {{"model", model}, {"device", device}};
    by_worker_.push_back({AddByLabel(families.batches, device_labels, "lane", kLaneNames),
                          &families.compute_duration.Add(device_labels, durations)});
  }
  refusals_ = AddByLabel(families.refusals, labels, "reason", kRefusalNames);
  dropped_inputs_ = AddByLabel(families.dropped_inputs, labels, "reason", kDropNames);
  wasted_inputs_ = &families.wasted_inputs.Add(labels);
  batch_splits_ = &families.batch_splits.Add(labels);
  yields_ = &families.yields.Add(labels);
  queue_tokens_ = &families.queue_tokens.Add(labels);
  queue_inputs_ = &families.queue_inputs.Add(labels);
}

void ModelMetrics::OnRequestDone(Rpc rpc, absl::StatusCode code, absl::Duration duration) {
  requests_[static_cast<int>(rpc)][static_cast<int>(code)]->Increment();
  request_duration_[static_cast<int>(rpc)]->Observe(absl::ToDoubleSeconds(duration));
}

void ModelMetrics::OnInputsDone(absl::StatusCode code, int64_t count) {
  inputs_[static_cast<int>(code)]->Increment(static_cast<double>(count));
}

void ModelMetrics::OnTokenized(absl::Duration duration) {
  tokenize_duration_->Observe(absl::ToDoubleSeconds(duration));
}

void ModelMetrics::OnCacheLookup(bool hit) { (hit ? cache_hits_ : cache_misses_)->Increment(); }

void ModelMetrics::OnQueueChange(int64_t tokens, int64_t items) {
  queue_tokens_->Increment(static_cast<double>(tokens));
  queue_inputs_->Increment(static_cast<double>(items));
}

void ModelMetrics::OnItemDequeued(absl::Duration waited) {
  queue_duration_->Observe(absl::ToDoubleSeconds(waited));
}

void ModelMetrics::OnRefused(Refusal reason) {
  refusals_[static_cast<size_t>(reason)]->Increment();
}

void ModelMetrics::OnItemDropped(Drop reason) {
  dropped_inputs_[static_cast<size_t>(reason)]->Increment();
}

void ModelMetrics::OnBatchSplit() { batch_splits_->Increment(); }

void ModelMetrics::OnItemsWasted(int64_t items) {
  wasted_inputs_->Increment(static_cast<double>(items));
}

void ModelMetrics::OnYield() { yields_->Increment(); }

void ModelMetrics::OnBatchDone(int worker, Lane lane, int64_t items, int64_t tokens,
                               absl::Duration compute) {
  const DeviceSeries& device = by_worker_[static_cast<size_t>(worker)];
  device.batches[static_cast<size_t>(lane)]->Increment();
  device.compute_duration->Observe(absl::ToDoubleSeconds(compute));
  batch_size_->Observe(static_cast<double>(items));
  batch_tokens_->Observe(static_cast<double>(tokens));
  tokens_->Increment(static_cast<double>(tokens));
}

}  // namespace longwave
