#include "model/encoder/layer.h"

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/linear.h>

#include <algorithm>
#include <string>

#include "absl/functional/function_ref.h"
#include "model/attention/checkpoint.h"
#include "model/attention/operators.h"

namespace longwave {
namespace {

// Long enough for full speed of the matrix products, short enough that a chunk of the widest
// activation stays in a cache.
constexpr int64_t kChunkTokens = 1024;

// Calls body(begin, count) for consecutive chunks of [0, tokens), with a checkpoint after each.
void ForEachChunk(int64_t tokens, absl::FunctionRef<void(int64_t, int64_t)> body) {
  for (int64_t begin = 0; begin < tokens; begin += kChunkTokens) {
    body(begin, std::min(kChunkTokens, tokens - begin));
    attention::Checkpoint();
  }
}

at::Tensor Norm(const NormWeights& weights, double eps, const at::Tensor& x) {
  return at::layer_norm(x, {x.size(-1)}, weights.weight, weights.bias, eps);
}

// x += linear(input), without a temporary.
void AddLinear(const LinearWeights& linear, const at::Tensor& input, at::Tensor& x) {
  x.add_(linear.bias).addmm_(input, linear.weight.t());
}

void RunAttention(const ModelConfig& config, const LayerWeights& weights,
                  const PackedSequences& sequences, at::Tensor& x) {
  const bool pre = config.norm_position == NormPosition::kPre;
  const int64_t tokens = x.size(0);
  const int64_t width = x.size(1);
  at::Tensor qkv = at::empty({tokens, 3 * width}, x.options());
  ForEachChunk(tokens, [&](int64_t begin, int64_t count) {
    const at::Tensor chunk = x.narrow(0, begin, count);
    at::Tensor out = qkv.narrow(0, begin, count);
    at::addmm_out(out, weights.qkv.bias,
                  pre ? Norm(weights.attention_norm, config.layer_norm_eps, chunk) : chunk,
                  weights.qkv.weight.t());
  });

  const auto part = [&](int64_t index) {
    return qkv.narrow(1, index * width, width)
        .view({tokens, config.num_attention_heads, config.head_dim()});
  };
  attention::AttentionOptions options;
  options.feature_map = std::string(Name(config.attention.feature_map));
  options.normalize = config.attention.normalize;
  options.scale = config.attention.scale;
  options.causal = config.attention.causal;
  const at::Tensor context =
      attention::RpeAttention(part(0), part(1), part(2), weights.projection, weights.bias,
                              sequences.offsets, sequences.lengths, options)
          .reshape({tokens, width});
  qkv.reset();

  ForEachChunk(tokens, [&](int64_t begin, int64_t count) {
    at::Tensor chunk = x.narrow(0, begin, count);
    AddLinear(weights.out, context.narrow(0, begin, count), chunk);
    if (!pre) chunk.copy_(Norm(weights.attention_norm, config.layer_norm_eps, chunk));
  });
}

void RunMlp(const ModelConfig& config, const LayerWeights& weights, at::Tensor& x) {
  const bool pre = config.norm_position == NormPosition::kPre;
  const char* approximate = config.hidden_act == HiddenActivation::kGeluTanh ? "tanh" : "none";
  ForEachChunk(x.size(0), [&](int64_t begin, int64_t count) {
    at::Tensor chunk = x.narrow(0, begin, count);
    at::Tensor hidden =
        at::linear(pre ? Norm(weights.mlp_norm, config.layer_norm_eps, chunk) : chunk,
                   weights.mlp_in.weight, weights.mlp_in.bias);
    at::gelu_(hidden, approximate);
    AddLinear(weights.mlp_out, hidden, chunk);
    if (!pre) chunk.copy_(Norm(weights.mlp_norm, config.layer_norm_eps, chunk));
  });
}

}  // namespace

void NormInPlace(const NormWeights& weights, double eps, at::Tensor& x) {
  ForEachChunk(x.size(0), [&](int64_t begin, int64_t count) {
    const at::Tensor chunk = x.narrow(0, begin, count);
    chunk.copy_(Norm(weights, eps, chunk));
  });
}

void RunLayer(const ModelConfig& config, const LayerWeights& weights,
              const PackedSequences& sequences, at::Tensor& x) {
  RunAttention(config, weights, sequences, x);
  RunMlp(config, weights, x);
}

}  // namespace longwave
