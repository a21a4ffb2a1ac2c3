#include "model/runtime/cpu_model.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <cmath>
#include <functional>
#include <map>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/attention/checkpoint.h"
#include "model/device/torch_guard.h"
#include "model/encoder/pooling.h"
#include "model/runtime/layer_plans.h"

namespace longwave {
namespace {

bool IsFinite(absl::Span<const float> values) {
  for (const float value : values) {
    if (!std::isfinite(value)) return false;
  }
  return true;
}

// Divides by the L2 norm, summed in float64; a zero row stays zero.
void Normalize(absl::Span<float> row) {
  double sum = 0;
  for (const float value : row) sum += static_cast<double>(value) * value;
  if (sum == 0) return;
  const double factor = 1 / std::sqrt(sum);
  for (float& value : row) value = static_cast<float>(value * factor);
}

// Copies rows: float32 [rows, cols], contiguous. What is not finite must not leave as if it were an
// answer.
void Store(const at::Tensor& rows, bool normalize, RunResult& result) {
  const float* data = rows.const_data_ptr<float>();
  const absl::Span<const float> values(data, rows.numel());
  if (!IsFinite(values)) {
    result.status =
        absl::InternalError("output: found a NaN or an infinity in what the model made");
    return;
  }
  result.rows = rows.size(0);
  result.cols = rows.size(1);
  result.values.assign(values.begin(), values.end());
  if (!normalize) return;
  for (int64_t row = 0; row < result.rows; ++row) {
    Normalize(absl::MakeSpan(result.values.data() + row * result.cols, result.cols));
  }
}

// Items whose pooled rows go the same way.
struct Group {
  std::vector<size_t> items;  // index into the batch
  std::vector<PoolRow> rows;  // one for each
};

// Thrown through LibTorch's frames when a run is to stop. Not a std::exception, so that nothing on
// its way takes it for a failure.
struct RunCancelled {};

// What the planner predicts for all layers together.
std::vector<std::pair<int64_t, double>> PredictAttention(const Encoder& encoder,
                                                         int64_t max_length) {
  std::vector<std::pair<int64_t, double>> table;
  for (const int64_t length : CostModelLengths(max_length)) {
    std::vector<AttentionPlan> plans;
    for (int layer = 0; layer < encoder.config().num_hidden_layers; ++layer) {
      AddLayerPlans(encoder.PlanAttention(layer, {length}), layer, plans);
    }
    double milliseconds = 0;
    for (const AttentionPlan& plan : plans) milliseconds += plan.predicted_ms;
    table.emplace_back(length, milliseconds);
  }
  return table;
}

}  // namespace

CpuModel::CpuModel(ModelInfo info, std::unique_ptr<const Tokenizer> tokenizer, Encoder encoder,
                   int threads, bool batch_invariant)
    : info_(std::move(info)),
      tokenizer_(std::move(tokenizer)),
      encoder_(std::move(encoder)),
      threads_(threads),
      batch_invariant_(batch_invariant),
      cost_(encoder_.config(), threads,
            (at::set_num_threads(threads), PredictAttention(encoder_, info_.max_length))) {}

int64_t CpuModel::EstimateMemory(const BatchShape& shape) const { return cost_.Bytes(shape); }

void CpuModel::Forward(const PackedBatch& batch, absl::Span<const RunItem> items,
                       absl::Span<RunResult> results) const {
  const at::Tensor hidden = encoder_.Forward(batch.ids, batch.lengths);

  // Items that want the same thing, by head; all pooled embeddings under kEmbedding.
  constexpr int kEmbedding = -1;
  std::map<int, Group> groups;
  for (size_t i = 0; i < batch.items.size(); ++i) {
    const size_t index = batch.items[i];
    const RunItem& item = items[index];
    const bool classify = item.task == Task::kClassify;
    if (!classify && item.pooling == Pooling::kNone) {
      Store(hidden.narrow(0, batch.begins[i], batch.lengths[i]), item.normalize, results[index]);
      continue;
    }
    Group& group = groups[classify ? item.head : kEmbedding];
    group.items.push_back(index);
    group.rows.push_back({batch.begins[i], batch.lengths[i],
                          classify ? encoder_.config().heads[item.head].pooling : item.pooling});
  }
  for (const auto& [head, group] : groups) {
    at::Tensor rows = PoolRows(hidden, group.rows);
    if (head != kEmbedding) rows = encoder_.Classify(head, rows);
    for (size_t i = 0; i < group.items.size(); ++i) {
      const RunItem& item = items[group.items[i]];
      Store(rows.narrow(0, static_cast<int64_t>(i), 1),
            item.task == Task::kEncode && item.normalize, results[group.items[i]]);
    }
  }
}

absl::StatusOr<std::vector<AttentionPlan>> CpuModel::PlanAttention(
    absl::Span<const int64_t> lengths) const {
  for (const int64_t length : lengths) {
    if (length >= 1 && length <= info_.max_length) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("lengths: found ", length, ", expected 1 to ", info_.max_length, " tokens"));
  }
  std::vector<AttentionPlan> plans;
  const absl::Status status = GuardTorch([&] {
    at::set_num_threads(threads_);
    const std::vector<int64_t> list(lengths.begin(), lengths.end());
    for (int layer = 0; layer < encoder_.config().num_hidden_layers; ++layer) {
      AddLayerPlans(encoder_.PlanAttention(layer, list), layer, plans);
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return plans;
}

std::vector<RunResult> CpuModel::Run(absl::Span<const RunItem> items, const RunOptions& options) {
  // What fails here is the process's want of memory for a few words per item: nothing could be
  // answered.
  std::vector<RunResult> results(items.size());
  if (!batch_invariant_) {
    RunBatch(items, options, absl::MakeSpan(results));
    return results;
  }
  // The products of a matrix are summed in an order that depends on its number of rows.
  for (size_t i = 0; i < items.size(); ++i) {
    RunBatch(items.subspan(i, 1), options, absl::MakeSpan(&results[i], 1));
    if (absl::IsCancelled(results[i].status)) {
      for (RunResult& result : results) result = RunResult{results[i].status, 0, 0, {}};
      break;
    }
  }
  return results;
}

void CpuModel::RunBatch(absl::Span<const RunItem> items, const RunOptions& options,
                        absl::Span<RunResult> results) const {
  absl::Status status;
  try {
    status = GuardTorch([&] {
      const PackedBatch batch = PackItems(items, info_, results);
      if (batch.items.empty()) return absl::OkStatus();
      const attention::CheckpointScope scope(
          options.control == nullptr ? std::function<void()>() : [&options, this] {
            if (!options.control->Continue()) throw RunCancelled();
            // The number of threads belongs to the calling thread, and another model may have run.
            at::set_num_threads(threads_);
          });
      at::set_num_threads(threads_);
      const c10::InferenceMode inference;
      Forward(batch, items, results);
      return absl::OkStatus();
    });
  } catch (const RunCancelled&) {
    status = absl::CancelledError("the run was cancelled");
  }
  if (status.ok()) return;
  for (RunResult& result : results) {
    if (result.status.ok()) result = RunResult{status, 0, 0, {}};
  }
}

}  // namespace longwave
