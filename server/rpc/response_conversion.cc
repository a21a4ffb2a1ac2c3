#include "server/rpc/response_conversion.h"

#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/status.h"

namespace longwave {
namespace {

const char* PoolingName(Pooling pooling) {
  switch (pooling) {
    case Pooling::kMean:
      return "mean";
    case Pooling::kFirstToken:
      return "first_token";
    case Pooling::kNone:
      return "none";
  }
  return "";
}

// Bytes of one result around its payload: tags, lengths, status, shape, counts. An upper bound.
constexpr int64_t kResultOverhead = 128;

// What all kinds of results share.
template <typename Result>
void WriteCommon(const ItemOutcome& outcome, Result* result) {
  *result->mutable_status() = ToResultStatus(outcome.result.status);
  if (!outcome.result.status.ok()) return;
  result->set_tokens(outcome.tokens);
  result->set_tokens_dropped(outcome.tokens_dropped);
}

}  // namespace

absl::Status CheckEncodeResponseSize(int64_t rows, int64_t inputs, int64_t hidden_size,
                                     const EmbeddingFormat& format, int64_t max_response_bytes) {
  const int64_t bytes =
      rows * hidden_size * format.element_bytes() + (inputs + 1) * kResultOverhead;
  if (bytes <= max_response_bytes) return absl::OkStatus();
  return absl::OutOfRangeError(
      absl::StrCat("the response would have ", bytes, " bytes (", rows, " rows of ", hidden_size,
                   " numbers), the limit is ", max_response_bytes,
                   " bytes: use EncodeStream, a smaller element type, pooling, or fewer inputs"));
}

absl::Status CheckClassifyResponseSize(int64_t inputs, int64_t top_k, const HeadInfo& head,
                                       int64_t max_response_bytes) {
  constexpr int64_t kLabelOverhead = 20;  // tags, lengths, index, probability
  size_t longest = 0;
  for (const std::string& label : head.labels) longest = std::max(longest, label.size());
  const int64_t label_bytes = static_cast<int64_t>(longest) + kLabelOverhead;
  const int64_t bytes = inputs * top_k * label_bytes + (inputs + 1) * kResultOverhead;
  if (bytes <= max_response_bytes) return absl::OkStatus();
  return absl::OutOfRangeError(absl::StrCat("the response could have ", bytes, " bytes (", inputs,
                                            " inputs with ", top_k, " labels each), the limit is ",
                                            max_response_bytes,
                                            " bytes: use a smaller top_k or fewer inputs"));
}

void WriteEncodeResult(const ItemOutcome& outcome, const RequestOptions& options,
                       v1::EncodeResult* result) {
  WriteCommon(outcome, result);
  if (!outcome.result.status.ok()) return;
  const int64_t per_token[] = {outcome.result.rows, outcome.result.cols};
  const auto shape = options.run.pooling == Pooling::kNone
                         ? absl::Span<const int64_t>(per_token)
                         : absl::Span<const int64_t>(per_token).subspan(1);
  WriteEmbedding(outcome.result.values, shape, options.format, result->mutable_embedding());
}

void WriteClassifyResult(const ItemOutcome& outcome, const RequestOptions& options,
                         const HeadInfo& head, v1::ClassifyResult* result) {
  WriteCommon(outcome, result);
  if (!outcome.result.status.ok()) return;
  const std::vector<float>& probabilities = outcome.result.values;
  std::vector<int> order(probabilities.size());
  std::iota(order.begin(), order.end(), 0);
  const size_t top_k = std::min<size_t>(options.top_k, order.size());
  std::partial_sort(order.begin(), order.begin() + top_k, order.end(), [&](int a, int b) {
    return probabilities[a] != probabilities[b] ? probabilities[a] > probabilities[b] : a < b;
  });
  for (size_t i = 0; i < top_k; ++i) {
    v1::LabelScore* score = result->add_labels();
    score->set_label(head.labels[order[i]]);
    score->set_index(order[i]);
    score->set_probability(probabilities[order[i]]);
  }
}

v1::Usage MakeUsage(absl::Span<const ItemOutcome> outcomes) {
  v1::Usage usage;
  for (const ItemOutcome& outcome : outcomes) {
    if (!outcome.result.status.ok()) continue;
    usage.set_tokens(usage.tokens() + outcome.tokens);
    usage.set_inputs(usage.inputs() + 1);
  }
  return usage;
}

v1::Timing MakeTiming(absl::Span<const ItemOutcome> outcomes, absl::Duration tokenize,
                      absl::Duration total) {
  ItemTiming longest;
  for (const ItemOutcome& outcome : outcomes) {
    longest.queue = std::max(longest.queue, outcome.timing.queue);
    longest.compute = std::max(longest.compute, outcome.timing.compute);
  }
  v1::Timing timing;
  timing.set_queue_ns(absl::ToInt64Nanoseconds(longest.queue));
  timing.set_tokenize_ns(absl::ToInt64Nanoseconds(tokenize));
  timing.set_compute_ns(absl::ToInt64Nanoseconds(longest.compute));
  timing.set_total_ns(absl::ToInt64Nanoseconds(total));
  return timing;
}

v1::ModelSpec MakeModelSpec(const ServedModel& model) {
  v1::ModelSpec spec;
  spec.set_name(model.name);
  spec.set_version(model.version);
  return spec;
}

v1::ModelInfo MakeModelInfo(const ServedModel& model) {
  const ModelInfo& info = model.info;
  v1::ModelInfo message;
  message.set_name(model.name);
  message.set_version(model.version);
  message.set_hidden_size(info.hidden_size);
  message.set_vocab_size(info.vocab_size);
  message.set_max_length(info.max_length);
  message.set_tokenizer(std::string(model.model->tokenizer().kind()));
  message.set_pooling(PoolingName(info.default_pooling));
  if (info.can_encode) message.add_tasks("encode");
  if (!info.heads.empty()) message.add_tasks("classify");
  for (const HeadInfo& head : info.heads) {
    v1::ClassificationHead* added = message.add_heads();
    added->set_name(head.name);
    added->mutable_labels()->Assign(head.labels.begin(), head.labels.end());
  }
  message.set_parameters(info.parameters);
  message.set_device(info.device);
  message.set_feature_map(info.feature_map);
  return message;
}

v1::AttentionPlan MakeAttentionPlan(const AttentionPlan& plan) {
  v1::AttentionPlan message;
  message.mutable_layers()->Assign(plan.layers.begin(), plan.layers.end());
  message.mutable_heads()->Assign(plan.heads.begin(), plan.heads.end());
  message.mutable_lengths()->Assign(plan.lengths.begin(), plan.lengths.end());
  message.set_algorithm(plan.algorithm);
  message.set_reason(plan.reason);
  message.set_error_bound(plan.error_bound);
  message.set_predicted_ms(plan.predicted_ms);
  return message;
}

}  // namespace longwave
