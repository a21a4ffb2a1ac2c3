#include "bench/encoder_gpu/bert.h"

#include <ATen/Functions.h>

#include <numeric>
#include <string>

namespace longwave::bench {
namespace {

constexpr double kInitialScale = 0.02;
constexpr int64_t kMaxDistance = 129;

at::Tensor Normal(std::vector<int64_t> shape, double scale) {
  return at::randn(shape, at::kFloat).mul_(scale);
}

LinearWeights Linear(int64_t out, int64_t in) {
  return {Normal({out, in}, kInitialScale), Normal({out}, kInitialScale)};
}

NormWeights Norm(int64_t width) {
  return {Normal({width}, kInitialScale).add_(1), Normal({width}, kInitialScale), std::nullopt};
}

}  // namespace

ModelConfig BertConfig() {
  ModelConfig config;
  config.hidden_size = 768;
  config.num_hidden_layers = 12;
  config.num_attention_heads = 12;
  config.intermediate_size = 3072;
  config.norm_position = NormPosition::kPost;
  config.layer_norm_eps = 1e-12;
  config.vocab_size = 30522;
  config.max_length = 1 << 20;
  config.attention.num_features = 64;
  config.attention.max_distance = kMaxDistance;
  return config;
}

EncoderWeights RandomBertWeights(const ModelConfig& config, uint64_t seed) {
  at::manual_seed(seed);
  const int64_t width = config.hidden_size;
  EncoderWeights weights;
  weights.token_embedding = Normal({config.vocab_size, width}, 1);
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    LayerWeights& layer = weights.layers.emplace_back();
    layer.qkv = Linear(3 * width, width);
    layer.out = Linear(width, width);
    layer.projection = Normal({config.attention.num_features, config.head_dim()}, 1);
    layer.bias = c10::make_intrusive<attention::RelativeBias>(
        Normal({config.num_attention_heads, 2 * kMaxDistance - 1}, 1), "prf", /*causal=*/false,
        config.max_length, 1e-5);
    layer.attention_norm = Norm(width);
    layer.mlp_in = Linear(config.intermediate_size, width);
    layer.mlp_out = Linear(width, config.intermediate_size);
    layer.mlp_norm = Norm(width);
  }
  SetNormShifts(/*pre_norm=*/false, weights);
  return weights;
}

at::Tensor RandomIds(const ModelConfig& config, const std::vector<int64_t>& lengths) {
  const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  return at::randint(config.vocab_size, {tokens}, at::kInt);
}

}  // namespace longwave::bench
