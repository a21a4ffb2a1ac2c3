#include "server/metrics/metric_families.h"

namespace longwave {
namespace {

using prometheus::Registry;

prometheus::Family<prometheus::Counter>& Counters(Registry& registry, const char* name,
                                                  const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry);
}

prometheus::Family<prometheus::Gauge>& Gauges(Registry& registry, const char* name,
                                              const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry);
}

prometheus::Family<prometheus::Histogram>& Histograms(Registry& registry, const char* name,
                                                      const char* help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(registry);
}

}  // namespace

MetricFamilies::MetricFamilies(Registry& r)
    : requests(Counters(r, "longwave_requests_total", "Finished requests.")),
      inputs(Counters(r, "longwave_inputs_total", "Inputs of requests, by their own status.")),
      tokens(Counters(r, "longwave_tokens_total",
                      "Tokens of the batches that the model was given, failed ones too.")),
      padded_tokens(Counters(r, "longwave_padded_tokens_total",
                             "Slots of padding that were computed beside them.")),
      cache_hits(Counters(r, "longwave_result_cache_hits_total",
                          "Inputs whose result was known; the model was not given them.")),
      cache_misses(Counters(r, "longwave_result_cache_misses_total",
                            "Inputs whose result was looked up and not known.")),
      batch_size(Histograms(r, "longwave_batch_size", "Sequences per batch.")),
      batch_tokens(Histograms(r, "longwave_batch_tokens", "Tokens per batch.")),
      batches(Counters(r, "longwave_batches_total", "Batches computed, by lane.")),
      batch_splits(Counters(r, "longwave_batch_splits_total",
                            "Batches that failed as a whole and were computed again in parts.")),
      yields(Counters(r, "longwave_yields_total",
                      "Short batches that were computed in a gap of a long one.")),
      refusals(Counters(r, "longwave_refusals_total",
                        "Requests, or inputs of a stream, that the queue did not let in.")),
      dropped_inputs(Counters(r, "longwave_dropped_inputs_total",
                              "Inputs that left the queue without being computed.")),
      wasted_inputs(Counters(r, "longwave_wasted_inputs_total",
                             "Inputs that were computed although nobody waited any more.")),
      queue_duration(Histograms(r, "longwave_queue_duration_seconds",
                                "Time an input waited for its batch, or until it left the queue.")),
      tokenize_duration(Histograms(r, "longwave_tokenize_duration_seconds",
                                   "Time to turn a request's inputs into token ids.")),
      compute_duration(
          Histograms(r, "longwave_compute_duration_seconds", "Time of a batch's forward pass.")),
      request_duration(Histograms(r, "longwave_request_duration_seconds",
                                  "Time from a request's arrival to its end, failed or not.")),
      queue_tokens(Gauges(r, "longwave_queue_tokens", "Tokens waiting now.")),
      queue_inputs(Gauges(r, "longwave_queue_inputs", "Inputs waiting now.")),
      memory_reserved(Gauges(r, "longwave_memory_reserved_bytes",
                             "Memory of a device that batches have reserved.")),
      memory_budget(Gauges(r, "longwave_memory_budget_bytes",
                           "Memory of a device that batches may reserve; 0: no limit.")),
      requests_in_flight(
          Gauges(r, "longwave_requests_in_flight", "Requests that have not ended yet.")),
      cache_bytes(Gauges(r, "longwave_result_cache_bytes", "Size of the results that are kept.")),
      model_info(Gauges(r, "longwave_model_info", "Loaded models; always 1.")),
      model_attention_heads(Gauges(
          r, "longwave_model_attention_heads",
          "Heads of all layers that an algorithm computes, for an input of so many tokens.")),
      build_info(Gauges(r, "longwave_build_info", "Version of the server; always 1.")) {}

}  // namespace longwave
