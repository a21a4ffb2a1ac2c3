#ifndef LONGWAVE_MODEL_ENCODER_LAYER_H_
#define LONGWAVE_MODEL_ENCODER_LAYER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/checkpoint/model_config.h"
#include "model/encoder/weights.h"

// Steps of the encoder on packed activations [tokens, E], contiguous, in the weights' dtype. They
// work in place and in chunks of tokens, with an attention::Checkpoint() after each, so that beside
// the activations only q, k, v and the attention's output are ever as long as the sequence. On a
// GPU they only queue work. May throw c10::Error. Thread-safe. For .cc files only: it shows torch
// types.
//
// The biases of the projections that end in the residual stream are never added to it: they are in
// the `shift` of every norm that reads it (weights.h). So the products add to the stream in place.
namespace longwave {

// Where the sequences of a packed batch lie.
struct PackedSequences {
  std::vector<int64_t> lengths;  // of each sequence, on the host
  at::Tensor offsets;            // int32 [sequences + 1], from 0 to tokens, on x's device
};

// x := LayerNorm(x + shift).
void NormInPlace(const NormWeights& weights, double eps, at::Tensor& x);

// One encoder layer, `config.norm_position` deciding its shape:
//   pre:  x += attention(norm(x)); x += mlp(norm(x))
//   post: x = norm(x + attention(x)); x = norm(x + mlp(x))
void RunLayer(const ModelConfig& config, const LayerWeights& weights,
              const PackedSequences& sequences, at::Tensor& x);

// The most memory that RunLayer() takes beside x and the attention's own workspace, for a batch of
// `tokens` tokens whose numbers take `element_bytes` each.
int64_t LayerWorkspaceBytes(const ModelConfig& config, int64_t tokens, int64_t element_bytes,
                            bool on_gpu);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_LAYER_H_
