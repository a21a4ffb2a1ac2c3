#ifndef LONGWAVE_MODEL_RUNTIME_CPU_MODEL_H_
#define LONGWAVE_MODEL_RUNTIME_CPU_MODEL_H_

#include <memory>

#include "model/runtime/cpu_memory_model.h"
#include "model/runtime/encoder_model.h"

namespace longwave {

// A model in this process's memory, run by LibTorch on the CPU. For .cc files only: it shows torch
// types.
class CpuModel final : public EncoderModel {
 public:
  // threads: of one forward pass, at least 1. batch_invariant: as in Model::Options. May throw
  // c10::Error.
  CpuModel(ModelInfo info, std::unique_ptr<const Tokenizer> tokenizer, Encoder encoder, int threads,
           bool batch_invariant);

  int64_t EstimateMemory(const BatchShape& shape) const override { return memory_.Bytes(shape); }

 private:
  absl::Status RunPacked(const PackedBatch& batch, absl::Span<const RunItem> items,
                         const RunOptions& options, absl::Span<RunResult> results) override;

  const CpuMemoryModel memory_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_CPU_MODEL_H_
