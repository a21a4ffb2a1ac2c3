#ifndef LONGWAVE_TESTS_ENCODER_REFERENCE_ENCODER_H_
#define LONGWAVE_TESTS_ENCODER_REFERENCE_ENCODER_H_

#include <cstdint>
#include <vector>

#include "model/checkpoint/model_config.h"
#include "tests/support/safetensors_writer.h"

namespace longwave::testing {

using Matrix = std::vector<std::vector<double>>;  // by row

// The encoder of docs/model-format.md in float64, for one sequence, written from the page with
// plain loops and nothing of the product's code. Returns the final vectors, [tokens, E].
Matrix ReferenceForward(const ModelConfig& config, const WeightMap& weights,
                        const std::vector<int32_t>& ids);

// The head's logits for one pooled vector.
std::vector<double> ReferenceLogits(const HeadConfig& head, const WeightMap& weights,
                                    const std::vector<double>& pooled);

}  // namespace longwave::testing

#endif  // LONGWAVE_TESTS_ENCODER_REFERENCE_ENCODER_H_
