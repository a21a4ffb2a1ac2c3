#include "model/encoder/encoder.h"

#include <ATen/Functions.h>

#include <numeric>

#include "model/attention/operators.h"
#include "model/encoder/layer.h"

namespace longwave {
namespace {

PackedSequences Pack(const std::vector<int64_t>& lengths) {
  PackedSequences sequences;
  sequences.lengths = lengths;
  sequences.offsets = at::empty({static_cast<int64_t>(lengths.size()) + 1}, at::kInt);
  auto* offsets = sequences.offsets.data_ptr<int32_t>();
  offsets[0] = 0;
  std::partial_sum(lengths.begin(), lengths.end(), offsets + 1);
  return sequences;
}

at::Tensor ApplyLinear(const LinearWeights& linear, const at::Tensor& input) {
  return at::linear(input, linear.weight, linear.bias);
}

}  // namespace

at::Tensor Encoder::Embed(absl::Span<const int32_t> ids,
                          const std::vector<int64_t>& lengths) const {
  const at::Tensor index =
      at::from_blob(const_cast<int32_t*>(ids.data()), {static_cast<int64_t>(ids.size())}, at::kInt);
  at::Tensor x = at::embedding(weights_.token_embedding, index);
  if (weights_.position_embedding.has_value()) {
    int64_t begin = 0;
    for (const int64_t length : lengths) {
      x.narrow(0, begin, length).add_(weights_.position_embedding->narrow(0, 0, length));
      begin += length;
    }
  }
  if (weights_.embedding_norm.has_value()) {
    NormInPlace(*weights_.embedding_norm, config_.layer_norm_eps, x);
  }
  return x;
}

at::Tensor Encoder::Forward(absl::Span<const int32_t> ids,
                            const std::vector<int64_t>& lengths) const {
  at::Tensor x = Embed(ids, lengths);
  const PackedSequences sequences = Pack(lengths);
  for (const LayerWeights& layer : weights_.layers) RunLayer(config_, layer, sequences, x);
  if (weights_.final_norm.has_value()) {
    NormInPlace(*weights_.final_norm, config_.layer_norm_eps, x);
  }
  return x;
}

std::string Encoder::PlanAttention(size_t layer, const std::vector<int64_t>& lengths) const {
  const LayerWeights& weights = weights_.layers[layer];
  return attention::PlanAttention(weights.bias, lengths, weights.projection,
                                  config_.attention.normalize, config_.attention.scale, "cpu",
                                  "float32", /*workspace_bytes=*/0);
}

at::Tensor Encoder::Classify(size_t head, const at::Tensor& pooled) const {
  const HeadWeights& weights = weights_.heads[head];
  const at::Tensor logits =
      ApplyLinear(weights.out,
                  weights.dense.has_value() ? ApplyLinear(*weights.dense, pooled).tanh_() : pooled);
  return at::softmax(logits, /*dim=*/-1);
}

}  // namespace longwave
