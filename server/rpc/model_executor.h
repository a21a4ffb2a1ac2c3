#ifndef LONGWAVE_SERVER_RPC_MODEL_EXECUTOR_H_
#define LONGWAVE_SERVER_RPC_MODEL_EXECUTOR_H_

#include <cstdint>
#include <vector>

#include "model/runtime/model.h"
#include "server/batching/executor.h"

namespace longwave {

// Runs batches of InferenceItems, and of nothing else, on a model. The only place where the
// batcher's items meet the model's types.
class ModelExecutor final : public Executor {
 public:
  // `model` is not owned and must outlive this.
  explicit ModelExecutor(Model* model) : model_(model) {}

  // Executor:
  int64_t EstimateMemory(const BatchSize& size) const override {
    return model_->EstimateMemory({size.items, size.tokens, size.longest});
  }
  double PredictMilliseconds(int64_t tokens) const override {
    return model_->PredictMilliseconds(tokens);
  }
  bool shares_device() const override { return model_->info().shares_device; }
  std::vector<absl::Status> Run(absl::Span<WorkItem* const> items, BatchControl* control) override;

 private:
  Model* const model_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_MODEL_EXECUTOR_H_
