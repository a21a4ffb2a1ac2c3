#include "model/encoder/encoder.h"

#include <ATen/Functions.h>

#include <numeric>

#include "model/attention/operators.h"
#include "model/encoder/operators.h"

namespace longwave {
namespace {

at::Tensor ApplyLinear(const LinearWeights& linear, const at::Tensor& input) {
  return at::linear(input, linear.weight, linear.bias);
}

// As the attention's planner names them.
const char* DtypeName(at::ScalarType dtype) {
  switch (dtype) {
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    default:
      return "float32";
  }
}

}  // namespace

at::Tensor PackOffsets(const std::vector<int64_t>& lengths) {
  at::Tensor offsets = at::empty({static_cast<int64_t>(lengths.size()) + 1}, at::kInt);
  auto* data = offsets.data_ptr<int32_t>();
  data[0] = 0;
  std::partial_sum(lengths.begin(), lengths.end(), data + 1);
  return offsets;
}

at::Tensor Encoder::Embed(const at::Tensor& ids, const PackedSequences& sequences) const {
  at::Tensor x =
      encoder::Embed(ids, sequences.offsets, weights_.token_embedding, weights_.position_embedding);
  if (weights_.embedding_norm.has_value()) {
    NormInPlace(*weights_.embedding_norm, config_.layer_norm_eps, x);
  }
  return x;
}

at::Tensor Encoder::Forward(const at::Tensor& ids, const PackedSequences& sequences) const {
  at::Tensor x = Embed(ids, sequences);
  for (const LayerWeights& layer : weights_.layers) RunLayer(config_, layer, sequences, x);
  if (weights_.final_norm.has_value()) {
    NormInPlace(*weights_.final_norm, config_.layer_norm_eps, x);
  }
  return x;
}

at::Tensor Encoder::Forward(absl::Span<const int32_t> ids,
                            const std::vector<int64_t>& lengths) const {
  const at::Tensor index =
      at::from_blob(const_cast<int32_t*>(ids.data()), {static_cast<int64_t>(ids.size())}, at::kInt);
  return Forward(index.to(device()), {lengths, PackOffsets(lengths).to(device())});
}

std::string Encoder::PlanAttention(size_t layer, const std::vector<int64_t>& lengths) const {
  const LayerWeights& weights = weights_.layers[layer];
  return attention::PlanAttention(weights.bias, lengths, weights.projection,
                                  config_.attention.normalize, config_.attention.scale,
                                  device().is_cuda() ? "cuda" : "cpu", DtypeName(dtype()),
                                  /*workspace_bytes=*/0);
}

at::Tensor Encoder::Classify(size_t head, const at::Tensor& pooled) const {
  const HeadWeights& weights = weights_.heads[head];
  const at::Tensor logits =
      ApplyLinear(weights.out,
                  weights.dense.has_value() ? ApplyLinear(*weights.dense, pooled).tanh_() : pooled);
  return at::softmax(logits, /*dim=*/-1);
}

}  // namespace longwave
