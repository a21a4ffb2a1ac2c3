#ifndef LONGWAVE_MODEL_ENCODER_LAYER_H_
#define LONGWAVE_MODEL_ENCODER_LAYER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/checkpoint/model_config.h"
#include "model/encoder/weights.h"

// Steps of the encoder on packed float32 activations [tokens, E]. They work in place and in chunks
// of tokens, so that beside the activations only q, k, v and the attention's output are ever as
// long as the sequence. May throw c10::Error. Thread-safe. For .cc files only: it shows torch
// types.
namespace longwave {

// Where the sequences of a packed batch lie.
struct PackedSequences {
  std::vector<int64_t> lengths;  // of each sequence, on the host
  at::Tensor offsets;            // int32 [sequences + 1], from 0 to tokens
};

// x := LayerNorm(x).
void NormInPlace(const NormWeights& weights, double eps, at::Tensor& x);

// One encoder layer, `config.norm_position` deciding its shape:
//   pre:  x += attention(norm(x)); x += mlp(norm(x))
//   post: x = norm(x + attention(x)); x = norm(x + mlp(x))
void RunLayer(const ModelConfig& config, const LayerWeights& weights,
              const PackedSequences& sequences, at::Tensor& x);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_LAYER_H_
