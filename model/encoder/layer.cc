#include "model/encoder/layer.h"

#include <ATen/ops/_addmm_activation.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>

#include <algorithm>
#include <string>

#include "absl/functional/function_ref.h"
#include "model/attention/checkpoint.h"
#include "model/attention/operators.h"
#include "model/encoder/operators.h"

namespace longwave {
namespace {

// Long enough for full speed of the matrix products. On the CPU, short enough that a chunk of the
// widest activation stays in a cache; on a GPU, short enough that it is little beside the
// activations of a long sequence, and that nobody waits long for a chunk that is under way.
constexpr int64_t kCpuChunkTokens = 1024;
constexpr int64_t kGpuChunkTokens = 16384;

// Calls body(begin, count) for consecutive chunks of [0, tokens), with a checkpoint after each.
void ForEachChunk(const at::Tensor& x, absl::FunctionRef<void(int64_t, int64_t)> body) {
  const int64_t tokens = x.size(0);
  const int64_t chunk = x.is_cuda() ? kGpuChunkTokens : kCpuChunkTokens;
  for (int64_t begin = 0; begin < tokens; begin += chunk) {
    body(begin, std::min(chunk, tokens - begin));
    attention::Checkpoint();
  }
}

at::Tensor ApplyNorm(const NormWeights& norm, double eps, const at::Tensor& x) {
  return encoder::Norm(x, norm.shift, norm.weight, norm.bias, eps);
}

// gelu(linear(input)).
at::Tensor ApplyLinearGelu(const LinearWeights& linear, HiddenActivation activation,
                           const at::Tensor& input) {
  const bool tanh = activation == HiddenActivation::kGeluTanh;
  const at::ScalarType dtype = input.scalar_type();
  // cuBLAS applies the tanh form while it writes the product. It lies within 5e-4 of the exact one,
  // less than bfloat16 rounds.
  if (input.is_cuda() && (dtype == at::kBFloat16 || (tanh && dtype == at::kHalf))) {
    return at::_addmm_activation(linear.bias, input, linear.weight.t(), /*beta=*/1, /*alpha=*/1,
                                 /*use_gelu=*/true);
  }
  at::Tensor hidden = at::linear(input, linear.weight, linear.bias);
  return at::gelu_(hidden, tanh ? "tanh" : "none");
}

void RunAttention(const ModelConfig& config, const LayerWeights& weights,
                  const PackedSequences& sequences, at::Tensor& x) {
  const bool pre = config.norm_position == NormPosition::kPre;
  const int64_t tokens = x.size(0);
  const int64_t width = x.size(1);
  at::Tensor qkv = at::empty({tokens, 3 * width}, x.options());
  ForEachChunk(x, [&](int64_t begin, int64_t count) {
    const at::Tensor chunk = x.narrow(0, begin, count);
    at::Tensor out = qkv.narrow(0, begin, count);
    at::addmm_out(out, weights.qkv.bias,
                  pre ? ApplyNorm(weights.attention_norm, config.layer_norm_eps, chunk) : chunk,
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

  ForEachChunk(x, [&](int64_t begin, int64_t count) {
    at::Tensor chunk = x.narrow(0, begin, count);
    chunk.addmm_(context.narrow(0, begin, count), weights.out.weight.t());
    if (!pre) NormInPlace(weights.attention_norm, config.layer_norm_eps, chunk);
  });
}

void RunMlp(const ModelConfig& config, const LayerWeights& weights, at::Tensor& x) {
  const bool pre = config.norm_position == NormPosition::kPre;
  ForEachChunk(x, [&](int64_t begin, int64_t count) {
    at::Tensor chunk = x.narrow(0, begin, count);
    const at::Tensor hidden =
        ApplyLinearGelu(weights.mlp_in, config.hidden_act,
                        pre ? ApplyNorm(weights.mlp_norm, config.layer_norm_eps, chunk) : chunk);
    chunk.addmm_(hidden, weights.mlp_out.weight.t());
    if (!pre) NormInPlace(weights.mlp_norm, config.layer_norm_eps, chunk);
  });
}

}  // namespace

void NormInPlace(const NormWeights& weights, double eps, at::Tensor& x) {
  ForEachChunk(x, [&](int64_t begin, int64_t count) {
    at::Tensor chunk = x.narrow(0, begin, count);
    encoder::NormInPlace(chunk, weights.shift, weights.weight, weights.bias, eps);
  });
}

void RunLayer(const ModelConfig& config, const LayerWeights& weights,
              const PackedSequences& sequences, at::Tensor& x) {
  RunAttention(config, weights, sequences, x);
  RunMlp(config, weights, x);
}

int64_t LayerWorkspaceBytes(const ModelConfig& config, int64_t tokens, int64_t element_bytes,
                            bool on_gpu) {
  const int64_t width = config.hidden_size;
  const int64_t chunk = std::min(tokens, on_gpu ? kGpuChunkTokens : kCpuChunkTokens);
  const int64_t normed = chunk * width;
  const int64_t projecting = tokens * 3 * width + normed;
  const int64_t attending = tokens * 4 * width;  // q, k, v and the output
  const int64_t mlp = normed + chunk * config.intermediate_size;
  return std::max({projecting, attending, mlp}) * element_bytes;
}

}  // namespace longwave
