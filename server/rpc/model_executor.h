#ifndef LONGWAVE_SERVER_RPC_MODEL_EXECUTOR_H_
#define LONGWAVE_SERVER_RPC_MODEL_EXECUTOR_H_

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

  std::vector<absl::Status> Run(absl::Span<WorkItem* const> items) override;

 private:
  Model* const model_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_MODEL_EXECUTOR_H_
