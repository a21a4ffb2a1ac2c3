#ifndef LONGWAVE_MODEL_RUNTIME_COST_MODEL_H_
#define LONGWAVE_MODEL_RUNTIME_COST_MODEL_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "model/checkpoint/model_config.h"
#include "model/runtime/model.h"

namespace longwave {

// What a run on the CPU costs, from the model's sizes and the attention's planner. Immutable,
// thread-safe.
class CostModel {
 public:
  // attention_ms: (length, milliseconds of all layers' attention) at ascending lengths, at least
  // one, up to the model's max_length. threads: of one forward pass.
  CostModel(const ModelConfig& config, int threads,
            std::vector<std::pair<int64_t, double>> attention_ms);

  // As Model::EstimateMemory and Model::PredictMilliseconds say.
  int64_t Bytes(const BatchShape& shape) const;
  double Milliseconds(int64_t tokens) const;

 private:
  // Between two lengths of the table the time goes with a power of the length.
  double AttentionMilliseconds(int64_t tokens) const;

  const std::vector<std::pair<int64_t, double>> attention_ms_;
  const double linear_ms_per_token_;
  const int64_t bytes_per_token_;
  const int64_t bytes_per_longest_token_;
  const int64_t piece_bytes_per_token_;
  const int64_t fixed_bytes_;
};

// Lengths at which to ask the planner: powers of two from 64, and max_length.
std::vector<int64_t> CostModelLengths(int64_t max_length);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_COST_MODEL_H_
