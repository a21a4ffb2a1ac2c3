#include "bench/encoder_gpu/softmax_encoder.h"

#include <ATen/Context.h>
#include <ATen/Functions.h>

#include "model/encoder/operators.h"

namespace longwave::bench {
namespace {

void Select(SoftmaxKernel kernel) {
  at::Context& context = at::globalContext();
  context.setSDPUseMath(false);
  context.setSDPUseMemEfficient(false);
  context.setSDPUseFlash(kernel == SoftmaxKernel::kFlash);
  context.setSDPUseCuDNN(kernel == SoftmaxKernel::kCudnn);
}

at::Tensor Attend(const at::Tensor& qkv, int64_t sequences, int64_t heads) {
  const int64_t tokens = qkv.size(0), width = qkv.size(1) / 3;
  const at::Tensor parts =
      qkv.view({sequences, tokens / sequences, 3, heads, width / heads}).permute({2, 0, 3, 1, 4});
  return at::scaled_dot_product_attention(parts[0], parts[1], parts[2])
      .transpose(1, 2)
      .reshape({tokens, width});
}

}  // namespace

at::Tensor SoftmaxForward(const Encoder& encoder, const at::Tensor& ids, int64_t sequences,
                          SoftmaxKernel kernel) {
  Select(kernel);
  const ModelConfig& config = encoder.config();
  at::Tensor x = encoder::Embed(ids, ids, encoder.weights().token_embedding, std::nullopt);
  const auto norm = [&](const NormWeights& weights) {
    encoder::NormInPlace(x, weights.shift, weights.weight, weights.bias, config.layer_norm_eps);
  };
  for (const LayerWeights& layer : encoder.weights().layers) {
    const at::Tensor qkv = at::addmm(layer.qkv.bias, x, layer.qkv.weight.t());
    x.addmm_(Attend(qkv, sequences, config.num_attention_heads), layer.out.weight.t());
    norm(layer.attention_norm);
    const at::Tensor hidden = at::_addmm_activation(layer.mlp_in.bias, x, layer.mlp_in.weight.t(),
                                                    1, 1, /*use_gelu=*/true);
    x.addmm_(hidden, layer.mlp_out.weight.t());
    norm(layer.mlp_norm);
  }
  return x;
}

void ProductsOnly(const Encoder& encoder, const at::Tensor& x) {
  for (const LayerWeights& layer : encoder.weights().layers) {
    at::mm(x, layer.qkv.weight.t());
    at::mm(x, layer.out.weight.t());
    at::mm(at::mm(x, layer.mlp_in.weight.t()), layer.mlp_out.weight.t());
  }
}

}  // namespace longwave::bench
