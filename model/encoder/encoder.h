#ifndef LONGWAVE_MODEL_ENCODER_ENCODER_H_
#define LONGWAVE_MODEL_ENCODER_ENCODER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "model/checkpoint/model_config.h"
#include "model/encoder/weights.h"

namespace longwave {

// The forward pass of a model on the CPU: embeddings, layers, heads.
//
// Immutable and thread-safe. May throw c10::Error; arguments are not checked against the model,
// that is the runtime's part. Call it in inference mode. For .cc files only: it shows torch types.
class Encoder {
 public:
  Encoder(ModelConfig config, EncoderWeights weights)
      : config_(std::move(config)), weights_(std::move(weights)) {}

  // ids: the sequences one after the other, each id in [0, vocab_size). lengths: their lengths,
  // each from 1 to max_length, which sum to the number of ids. Returns the vectors of all tokens,
  // float32 [tokens, E], contiguous.
  at::Tensor Forward(absl::Span<const int32_t> ids, const std::vector<int64_t>& lengths) const;

  // pooled: [rows, E], pooled as the head's config says. Returns probabilities, float32 [rows,
  // labels].
  at::Tensor Classify(size_t head, const at::Tensor& pooled) const;

  // What the planner of the attention would do in a layer for sequences of these lengths: JSON as
  // attention::PlanAttention returns it.
  std::string PlanAttention(size_t layer, const std::vector<int64_t>& lengths) const;

  const ModelConfig& config() const { return config_; }

 private:
  at::Tensor Embed(absl::Span<const int32_t> ids, const std::vector<int64_t>& lengths) const;

  const ModelConfig config_;
  const EncoderWeights weights_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_ENCODER_H_
