#include "model/runtime/cpu_model.h"

#include <functional>
#include <utility>

#include "model/attention/checkpoint.h"
#include "model/encoder/pooling.h"
#include "model/runtime/output_plan.h"
#include "model/runtime/store_rows.h"

namespace longwave {
namespace {

// One core with AVX-512 in matrix products of float32.
constexpr double kFlopPerMillisecond = 80e6;

// Stores float32 [rows, cols], contiguous.
void Store(const at::Tensor& rows, bool normalize, RunResult& result) {
  StoreRows({rows.const_data_ptr<float>(), static_cast<size_t>(rows.numel())}, rows.size(1),
            normalize, result);
}

}  // namespace

CpuModel::CpuModel(ModelInfo info, std::unique_ptr<const Tokenizer> tokenizer, Encoder encoder,
                   int threads, bool batch_invariant)
    : EncoderModel(std::move(info), std::move(tokenizer), std::move(encoder),
                   {threads, batch_invariant, kFlopPerMillisecond * threads}),
      memory_(this->encoder().config(), threads) {}

absl::Status CpuModel::RunPacked(const PackedBatch& batch, absl::Span<const RunItem> items,
                                 const RunOptions& options, absl::Span<RunResult> results) {
  const attention::CheckpointScope scope(options.control == nullptr
                                             ? std::function<void()>()
                                             : [&options, this] { ContinueOrThrow(options); });
  const at::Tensor hidden = encoder().Forward(batch.ids, batch.lengths);
  const OutputPlan plan = PlanOutputs(encoder().config(), batch, items);
  for (const TokenRows& tokens : plan.tokens) {
    Store(hidden.narrow(0, tokens.begin, tokens.length).to(at::kFloat),
          items[tokens.item].normalize, results[tokens.item]);
  }
  for (const PooledGroup& group : plan.groups) {
    at::Tensor rows = PoolRows(hidden, group.rows);
    if (group.head != PooledGroup::kEmbedding) rows = encoder().Classify(group.head, rows);
    for (size_t i = 0; i < group.items.size(); ++i) {
      const size_t item = group.items[i];
      Store(rows.narrow(0, static_cast<int64_t>(i), 1), Normalizes(group, items[item]),
            results[item]);
    }
  }
  return absl::OkStatus();
}

}  // namespace longwave
