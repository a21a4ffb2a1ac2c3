#include "bench/encoder_gpu/steps.h"

#include <ATen/Functions.h>

#include <string>

#include "model/attention/operators.h"
#include "model/encoder/operators.h"

namespace longwave::bench {

std::vector<std::pair<std::string, std::function<void()>>> LayerSteps(
    const Encoder& encoder, const PackedSequences& sequences, int64_t tokens) {
  const ModelConfig& config = encoder.config();
  const auto random = [&](int64_t columns) {
    return at::randn({tokens, columns}).to(encoder.dtype()).to(encoder.device());
  };
  const at::Tensor x = random(config.hidden_size);
  const at::Tensor qkv = random(3 * config.hidden_size);
  const at::Tensor hidden = random(config.intermediate_size);
  const auto each = [&encoder](std::function<void(const LayerWeights&)> step) {
    return [&encoder, step = std::move(step)] {
      for (const LayerWeights& layer : encoder.weights().layers) step(layer);
    };
  };
  const auto part = [&](int64_t index) {
    return qkv.narrow(1, index * config.hidden_size, config.hidden_size)
        .view({tokens, config.num_attention_heads, config.head_dim()});
  };
  const double eps = config.layer_norm_eps;
  return {
      {"qkv", each([x](const LayerWeights& layer) {
         at::addmm(layer.qkv.bias, x, layer.qkv.weight.t());
       })},
      {"qkv_product", each([x](const LayerWeights& layer) { at::mm(x, layer.qkv.weight.t()); })},
      {"attention", each([q = part(0), k = part(1), v = part(2), sequences](const auto& layer) {
         attention::RpeAttention(q, k, v, layer.projection, layer.bias, sequences.offsets,
                                 sequences.lengths, attention::AttentionOptions());
       })},
      {"out", each([x, y = x.clone()](const LayerWeights& layer) mutable {
         y.addmm_(x, layer.out.weight.t());
       })},
      {"out_product", each([x](const LayerWeights& layer) { at::mm(x, layer.out.weight.t()); })},
      {"norm", each([y = x.clone(), eps](const LayerWeights& layer) mutable {
         const NormWeights& norm = layer.mlp_norm;
         encoder::NormInPlace(y, norm.shift, norm.weight, norm.bias, eps);
       })},
      {"mlp_in", each([x](const LayerWeights& layer) {
         at::_addmm_activation(layer.mlp_in.bias, x, layer.mlp_in.weight.t(), 1, 1,
                               /*use_gelu=*/true);
       })},
      {"mlp_in_product",
       each([x](const LayerWeights& layer) { at::mm(x, layer.mlp_in.weight.t()); })},
      {"mlp_out", each([hidden, y = x.clone()](const LayerWeights& layer) mutable {
         y.addmm_(hidden, layer.mlp_out.weight.t());
       })},
      {"mlp_out_product",
       each([hidden](const LayerWeights& layer) { at::mm(hidden, layer.mlp_out.weight.t()); })},
  };
}

}  // namespace longwave::bench
