#ifndef LONGWAVE_MODEL_ENCODER_LOAD_WEIGHTS_H_
#define LONGWAVE_MODEL_ENCODER_LOAD_WEIGHTS_H_

#include "absl/status/statusor.h"
#include "model/checkpoint/model_config.h"
#include "model/checkpoint/safetensors.h"
#include "model/encoder/weights.h"

namespace longwave {

// Copies all weights of the model that `config` describes out of `file`, which may be closed
// afterwards. INVALID_ARGUMENT naming the tensor, what was found and what was expected;
// RESOURCE_EXHAUSTED without enough memory. Never throws.
absl::StatusOr<EncoderWeights> LoadEncoderWeights(const ModelConfig& config,
                                                  const SafetensorsFile& file);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_LOAD_WEIGHTS_H_
