#ifndef LONGWAVE_TESTS_SUPPORT_RANDOM_MODEL_H_
#define LONGWAVE_TESTS_SUPPORT_RANDOM_MODEL_H_

#include <cstdint>
#include <string>

#include "model/checkpoint/model_config.h"
#include "model/checkpoint/safetensors.h"
#include "tests/support/safetensors_writer.h"

namespace longwave::testing {

// A small byte-level model: 2 pre-norm layers of width 32 with 4 heads, 16 positive random
// features, distances below 64, sequences of up to 512 tokens with a prefix id (256), and two
// heads: "topic" (3 labels) and "dense" (5 labels, with a dense layer, on the first token).
ModelConfig SmallModelConfig();

// The text of a config.json that loads as `config`; warnings are not part of it.
std::string ConfigJson(const ModelConfig& config);

// Every weight that the model has, drawn anew for each `seed`: activations keep a size of about 1,
// relative biases are N(0, 1).
WeightMap RandomWeights(const ModelConfig& config, uint64_t seed);

// Writes config.json and model.safetensors into `folder`, which is made if missing. Throws
// std::system_error or std::ios_base::failure.
void WriteModel(const std::string& folder, const ModelConfig& config, const WeightMap& weights,
                TensorType type = TensorType::kFloat32);

// The same with random weights.
void WriteRandomModel(const std::string& folder, const ModelConfig& config, uint64_t seed);

}  // namespace longwave::testing

#endif  // LONGWAVE_TESTS_SUPPORT_RANDOM_MODEL_H_
