#ifndef LONGWAVE_MODEL_RUNTIME_CPU_MODEL_H_
#define LONGWAVE_MODEL_RUNTIME_CPU_MODEL_H_

#include <memory>
#include <utility>
#include <vector>

#include "model/encoder/encoder.h"
#include "model/runtime/batch.h"
#include "model/runtime/cost_model.h"
#include "model/runtime/model.h"

namespace longwave {

// A model in this process's memory, run by LibTorch on the CPU. For .cc files only: it shows torch
// types.
class CpuModel : public Model {
 public:
  // threads: of one forward pass, at least 1. batch_invariant: as in Model::Options. May throw
  // c10::Error.
  CpuModel(ModelInfo info, std::unique_ptr<const Tokenizer> tokenizer, Encoder encoder, int threads,
           bool batch_invariant);

  const ModelInfo& info() const override { return info_; }
  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  absl::StatusOr<std::vector<AttentionPlan>> PlanAttention(
      absl::Span<const int64_t> lengths) const override;
  int64_t EstimateMemory(const BatchShape& shape) const override;
  double PredictMilliseconds(int64_t tokens) const override { return cost_.Milliseconds(tokens); }
  std::vector<RunResult> Run(absl::Span<const RunItem> items, const RunOptions& options) override;

 private:
  // Runs valid or invalid items as one batch. Never throws.
  void RunBatch(absl::Span<const RunItem> items, const RunOptions& options,
                absl::Span<RunResult> results) const;
  // Fills the results of all sequences of the batch. May throw c10::Error, and what the checkpoints
  // throw.
  void Forward(const PackedBatch& batch, absl::Span<const RunItem> items,
               absl::Span<RunResult> results) const;

  const ModelInfo info_;
  const std::unique_ptr<const Tokenizer> tokenizer_;
  const Encoder encoder_;
  const int threads_;
  const bool batch_invariant_;
  const CostModel cost_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_CPU_MODEL_H_
