#ifndef LONGWAVE_MODEL_ENCODER_WEIGHTS_H_
#define LONGWAVE_MODEL_ENCODER_WEIGHTS_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>
#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/attention/relative_bias.h"

// A model's weights, ready for use: contiguous, immutable, on one device. E = hidden size, F =
// intermediate size. Embeddings and what multiplies activations are in the dtype of the activations
// (float32 when loaded); norms, projections of the attention and heads are
// float32. For .cc files only: it shows torch types.
namespace longwave {

struct LinearWeights {
  at::Tensor weight;  // [out, in]
  at::Tensor bias;    // [out]
};

struct NormWeights {
  at::Tensor weight;  // [E]
  at::Tensor bias;    // [E]

  // [E]: what the norm adds to its input first, all biases of `out` and `mlp_out` that came into
  // the residual stream since the last norm that was written back to it. Nothing: zero.
  std::optional<at::Tensor> shift;
};

struct LayerWeights {
  LinearWeights qkv;  // [3E, E]: q, k, v one after the other, so that one product makes all three
  LinearWeights out;  // [E, E]
  at::Tensor
      projection;  // [features, head_dim] or [heads, features, head_dim]; may be shared by layers
  c10::intrusive_ptr<attention::RelativeBias> bias;  // may be shared by layers
  NormWeights attention_norm;
  LinearWeights mlp_in;   // [F, E]
  LinearWeights mlp_out;  // [E, F]
  NormWeights mlp_norm;
};

struct HeadWeights {
  std::optional<LinearWeights> dense;  // [E, E]
  LinearWeights out;                   // [labels, E]
};

struct EncoderWeights {
  at::Tensor token_embedding;                    // [vocab_size, E]
  std::optional<at::Tensor> position_embedding;  // [max_position_embeddings, E]
  std::optional<NormWeights> embedding_norm;
  std::vector<LayerWeights> layers;
  std::optional<NormWeights> final_norm;  // with pre-norm layers
  std::vector<HeadWeights> heads;

  int64_t parameters = 0;             // numbers in all of them
  std::vector<std::string> warnings;  // tensors of the file that the model does not have
};

// Sets the `shift` of every norm. `pre_norm`: as config.norm_position says.
void SetNormShifts(bool pre_norm, EncoderWeights& weights);

// The numbers' bytes.
int64_t CountBytes(const EncoderWeights& weights);

// The same weights on `device` with activations of `dtype` (float32, bfloat16 or float16). What
// layers share stays shared. May throw c10::Error (no memory).
EncoderWeights PlaceWeights(const EncoderWeights& weights, at::Device device, at::ScalarType dtype);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_WEIGHTS_H_
