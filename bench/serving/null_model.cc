#include "bench/serving/null_model.h"

#include <algorithm>

#include "absl/status/status.h"
#include "absl/time/clock.h"

namespace longwave::bench {

NullModel::NullModel(const Options& options) : options_(options), tokenizer_(options.vocab_size) {
  info_.hidden_size = options.hidden_size;
  info_.vocab_size = options.vocab_size;
  info_.max_length = options.max_length;
  info_.heads = {{"parity", {"even", "odd"}}};
  info_.device = "null";
  info_.shares_device = options.shares_device;
  info_.feature_map = "null";
}

absl::StatusOr<std::vector<AttentionPlan>> NullModel::PlanAttention(
    absl::Span<const int64_t> lengths) const {
  return std::vector<AttentionPlan>{
      {{0}, {0}, {lengths.begin(), lengths.end()}, "none", "this model computes nothing", 0, 0}};
}

RunResult NullModel::RunOne(const RunItem& item) const {
  uint32_t hash = 2166136261u;  // FNV-1a over ids
  for (const int32_t id : item.tokens) hash = (hash ^ static_cast<uint32_t>(id)) * 16777619u;
  RunResult result;
  result.rows = 1;
  if (item.task == Task::kClassify) {
    const float odd = static_cast<float>(hash >> 8) * 0x1p-24f;
    result.cols = 2;
    result.values = {1 - odd, odd};
    return result;
  }
  if (item.pooling == Pooling::kNone) result.rows = static_cast<int64_t>(item.tokens.size());
  result.cols = options_.hidden_size;
  result.values.assign(static_cast<size_t>(result.rows * result.cols),
                       static_cast<float>(hash >> 8) * 0x1p-24f);
  return result;
}

int64_t NullModel::EstimateMemory(const BatchShape& shape) const {
  return shape.tokens * static_cast<int64_t>(sizeof(int32_t));
}

double NullModel::PredictMilliseconds(int64_t tokens) const {
  // Never nothing: predictions are compared.
  return absl::ToDoubleMilliseconds(static_cast<double>(tokens) *
                                    std::max(options_.time_per_token, absl::Nanoseconds(1)));
}

std::vector<RunResult> NullModel::Run(absl::Span<const RunItem> items, const RunOptions& options) {
  std::vector<RunResult> results;
  results.reserve(items.size());
  int64_t tokens = 0;
  for (const RunItem& item : items) {
    tokens += static_cast<int64_t>(item.tokens.size());
    results.push_back(RunOne(item));
  }
  if (options_.time_per_token == absl::ZeroDuration()) return results;
  constexpr int64_t kChunk = 512;  // the most that may lie between two questions
  for (int64_t done = 0; done < tokens; done += kChunk) {
    absl::SleepFor(static_cast<double>(std::min(kChunk, tokens - done)) * options_.time_per_token);
    if (options.control == nullptr || options.control->Continue()) continue;
    for (RunResult& result : results) result = {absl::CancelledError("nobody waits"), 0, 0, {}};
    break;
  }
  return results;
}

}  // namespace longwave::bench
