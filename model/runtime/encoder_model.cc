#include "model/runtime/encoder_model.h"

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "model/device/torch_guard.h"
#include "model/runtime/layer_plans.h"

namespace longwave {
namespace {

// Thrown through LibTorch's frames when a run is to stop. Not a std::exception, so that nothing on
// its way takes it for a failure.
struct RunCancelled {};

std::vector<AttentionPlan> PlanLayers(const Encoder& encoder, const std::vector<int64_t>& lengths) {
  std::vector<AttentionPlan> plans;
  for (int layer = 0; layer < encoder.config().num_hidden_layers; ++layer) {
    AddLayerPlans(encoder.PlanAttention(layer, lengths), layer, plans);
  }
  return plans;
}

// What the planner predicts for all layers together. The number of threads is a part of the
// prediction and belongs to the calling thread.
std::vector<std::pair<int64_t, double>> PredictAttention(const Encoder& encoder, int threads) {
  at::set_num_threads(threads);
  std::vector<std::pair<int64_t, double>> table;
  for (const int64_t length : TimeModelLengths(encoder.config().max_length)) {
    double milliseconds = 0;
    for (const AttentionPlan& plan : PlanLayers(encoder, {length})) {
      milliseconds += plan.predicted_ms;
    }
    table.emplace_back(length, milliseconds);
  }
  return table;
}

}  // namespace

EncoderModel::EncoderModel(ModelInfo info, std::unique_ptr<const Tokenizer> tokenizer,
                           Encoder encoder, const Options& options)
    : info_(std::move(info)),
      tokenizer_(std::move(tokenizer)),
      encoder_(std::move(encoder)),
      options_(options),
      time_(encoder_.config(), options.flop_per_millisecond,
            PredictAttention(encoder_, options.threads)) {}

absl::StatusOr<std::vector<AttentionPlan>> EncoderModel::PlanAttention(
    absl::Span<const int64_t> lengths) const {
  for (const int64_t length : lengths) {
    if (length >= 1 && length <= info_.max_length) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("lengths: found ", length, ", expected 1 to ", info_.max_length, " tokens"));
  }
  std::vector<AttentionPlan> plans;
  const absl::Status status = GuardTorch([&] {
    at::set_num_threads(options_.threads);
    plans = PlanLayers(encoder_, {lengths.begin(), lengths.end()});
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return plans;
}

std::vector<RunResult> EncoderModel::Run(absl::Span<const RunItem> items,
                                         const RunOptions& options) {
  // What fails here is the process's want of memory for a few words per item: nothing could be
  // answered.
  std::vector<RunResult> results(items.size());
  if (!options_.batch_invariant) {
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

void EncoderModel::RunBatch(absl::Span<const RunItem> items, const RunOptions& options,
                            absl::Span<RunResult> results) {
  absl::Status status;
  try {
    status = GuardTorch([&] {
      const PackedBatch batch = PackItems(items, info_, results);
      if (batch.items.empty()) return absl::OkStatus();
      at::set_num_threads(options_.threads);
      const c10::InferenceMode inference;
      return RunPacked(batch, items, options, results);
    });
  } catch (const RunCancelled&) {
    status = absl::CancelledError("the run was cancelled");
  }
  if (status.ok()) return;
  for (RunResult& result : results) {
    if (result.status.ok()) result = RunResult{status, 0, 0, {}};
  }
}

void EncoderModel::ContinueOrThrow(const RunOptions& options) const {
  if (options.control == nullptr) return;
  if (!options.control->Continue()) throw RunCancelled();
  // The number of threads belongs to the calling thread, and another model may have run.
  at::set_num_threads(options_.threads);
}

}  // namespace longwave
