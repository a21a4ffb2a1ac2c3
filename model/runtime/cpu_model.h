#ifndef LONGWAVE_MODEL_RUNTIME_CPU_MODEL_H_
#define LONGWAVE_MODEL_RUNTIME_CPU_MODEL_H_

#include <memory>
#include <utility>
#include <vector>

#include "model/encoder/encoder.h"
#include "model/runtime/batch.h"
#include "model/runtime/model.h"

namespace longwave {

// A model in this process's memory, run by LibTorch on the CPU. For .cc files only: it shows torch
// types.
class CpuModel : public Model {
 public:
  // threads: of one forward pass, at least 1.
  CpuModel(ModelInfo info, std::unique_ptr<const Tokenizer> tokenizer, Encoder encoder, int threads)
      : info_(std::move(info)),
        tokenizer_(std::move(tokenizer)),
        encoder_(std::move(encoder)),
        threads_(threads) {}

  const ModelInfo& info() const override { return info_; }
  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  absl::StatusOr<std::vector<AttentionPlan>> PlanAttention(
      absl::Span<const int64_t> lengths) const override;
  std::vector<RunResult> Run(absl::Span<const RunItem> items) override;

 private:
  // Fills the results of all sequences of the batch. May throw c10::Error.
  void Forward(const PackedBatch& batch, absl::Span<const RunItem> items,
               std::vector<RunResult>& results) const;

  const ModelInfo info_;
  const std::unique_ptr<const Tokenizer> tokenizer_;
  const Encoder encoder_;
  const int threads_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_CPU_MODEL_H_
