#ifndef LONGWAVE_MODEL_RUNTIME_TIME_MODEL_H_
#define LONGWAVE_MODEL_RUNTIME_TIME_MODEL_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "model/checkpoint/model_config.h"

namespace longwave {

// How long a sequence takes, from the model's sizes and the attention's planner. Immutable,
// thread-safe.
class TimeModel {
 public:
  // flop_per_millisecond: of the device in matrix products. attention_ms: (length, milliseconds of
  // all layers' attention) at ascending lengths, at least one, up to the model's max_length.
  TimeModel(const ModelConfig& config, double flop_per_millisecond,
            std::vector<std::pair<int64_t, double>> attention_ms);

  // As Model::PredictMilliseconds says.
  double Milliseconds(int64_t tokens) const;

 private:
  // Between two lengths of the table the time goes with a power of the length.
  double AttentionMilliseconds(int64_t tokens) const;

  const std::vector<std::pair<int64_t, double>> attention_ms_;
  const double linear_ms_per_token_;
};

// Lengths at which to ask the planner: powers of two from 64, and max_length.
std::vector<int64_t> TimeModelLengths(int64_t max_length);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_TIME_MODEL_H_
