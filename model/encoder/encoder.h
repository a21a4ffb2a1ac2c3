#ifndef LONGWAVE_MODEL_ENCODER_ENCODER_H_
#define LONGWAVE_MODEL_ENCODER_ENCODER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "model/checkpoint/model_config.h"
#include "model/encoder/layer.h"
#include "model/encoder/weights.h"

namespace longwave {

// The forward pass of a model on the device of its weights: embeddings, layers, heads. Activations
// have the dtype of the weights; the attention's tables and projections, norms and heads are
// float32.
//
// Immutable and thread-safe. May throw c10::Error; arguments are not checked against the model,
// that is the runtime's part. Call it in inference mode. On a GPU, calls only queue work on the
// calling thread's stream unless they return something else than tensors. For .cc files only: it
// shows torch types.
class Encoder {
 public:
  Encoder(ModelConfig config, EncoderWeights weights)
      : config_(std::move(config)), weights_(std::move(weights)) {}

  // ids: int32 [tokens] on the weights' device, the sequences one after the other, each id in [0,
  // vocab_size). Lengths are from 1 to max_length and sum to the number of ids. Returns the vectors
  // of all tokens, [tokens, E], contiguous.
  at::Tensor Forward(const at::Tensor& ids, const PackedSequences& sequences) const;

  // The same from the host's memory; copies it to the device first, and waits for that.
  at::Tensor Forward(absl::Span<const int32_t> ids, const std::vector<int64_t>& lengths) const;

  // pooled: float32 [rows, E], pooled as the head's config says. Returns probabilities, float32
  // [rows, labels].
  at::Tensor Classify(size_t head, const at::Tensor& pooled) const;

  // What the planner of the attention would do in a layer for sequences of these lengths: JSON as
  // attention::PlanAttention returns it.
  std::string PlanAttention(size_t layer, const std::vector<int64_t>& lengths) const;

  const ModelConfig& config() const { return config_; }
  const EncoderWeights& weights() const { return weights_; }
  at::Device device() const { return weights_.token_embedding.device(); }
  at::ScalarType dtype() const { return weights_.token_embedding.scalar_type(); }

 private:
  at::Tensor Embed(const at::Tensor& ids, const PackedSequences& sequences) const;

  const ModelConfig config_;
  const EncoderWeights weights_;
};

// int32 [sequences + 1] on the host: where sequences of these lengths begin, and where the last
// ends.
at::Tensor PackOffsets(const std::vector<int64_t>& lengths);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_ENCODER_H_
