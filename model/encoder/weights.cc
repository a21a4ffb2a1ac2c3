#include "model/encoder/weights.h"

#include <ATen/ops/add.h>

#include <map>
#include <utility>

namespace longwave {
namespace {

std::optional<at::Tensor> Sum(const std::optional<at::Tensor>& a, const at::Tensor& b) {
  return a.has_value() ? at::add(*a, b) : b;
}

// Copies every tensor once, however many layers share it.
class Placer {
 public:
  Placer(at::Device device, at::ScalarType dtype) : device_(device), dtype_(dtype) {}

  at::Tensor Float32(const at::Tensor& tensor) { return Place(tensor, at::kFloat); }
  at::Tensor Narrow(const at::Tensor& tensor) { return Place(tensor, dtype_); }

  std::optional<at::Tensor> Float32(const std::optional<at::Tensor>& tensor) {
    if (!tensor.has_value()) return std::nullopt;
    return Float32(*tensor);
  }
  NormWeights Float32(const NormWeights& norm) {
    return {Float32(norm.weight), Float32(norm.bias), Float32(norm.shift)};
  }
  std::optional<NormWeights> Float32(const std::optional<NormWeights>& norm) {
    if (!norm.has_value()) return std::nullopt;
    return Float32(*norm);
  }
  LinearWeights Float32(const LinearWeights& linear) {
    return {Float32(linear.weight), Float32(linear.bias)};
  }
  LinearWeights Narrow(const LinearWeights& linear) {
    return {Narrow(linear.weight), Narrow(linear.bias)};
  }

 private:
  at::Tensor Place(const at::Tensor& tensor, at::ScalarType dtype) {
    at::Tensor& placed = placed_[{tensor.unsafeGetTensorImpl(), dtype}];
    // Narrowed before it travels. to() returns the tensor itself where nothing changes.
    if (!placed.defined()) placed = tensor.to(dtype).to(device_);
    return placed;
  }

  const at::Device device_;
  const at::ScalarType dtype_;
  std::map<std::pair<const void*, at::ScalarType>, at::Tensor> placed_;
};

int64_t CountBytes(const at::Tensor& tensor) { return static_cast<int64_t>(tensor.nbytes()); }

int64_t CountBytes(const LinearWeights& linear) {
  return CountBytes(linear.weight) + CountBytes(linear.bias);
}

int64_t CountBytes(const NormWeights& norm) {
  return CountBytes(norm.weight) + CountBytes(norm.bias) +
         (norm.shift.has_value() ? CountBytes(*norm.shift) : 0);
}

}  // namespace

void SetNormShifts(bool pre_norm, EncoderWeights& weights) {
  std::optional<at::Tensor> stream;  // what the stream lacks
  for (LayerWeights& layer : weights.layers) {
    if (pre_norm) {
      layer.attention_norm.shift = stream;
      stream = Sum(stream, layer.out.bias);
      layer.mlp_norm.shift = stream;
      stream = Sum(stream, layer.mlp_out.bias);
    } else {
      layer.attention_norm.shift = layer.out.bias;
      layer.mlp_norm.shift = layer.mlp_out.bias;
    }
  }
  if (weights.final_norm.has_value()) weights.final_norm->shift = stream;
}

int64_t CountBytes(const EncoderWeights& weights) {
  int64_t bytes = CountBytes(weights.token_embedding);
  if (weights.position_embedding.has_value()) bytes += CountBytes(*weights.position_embedding);
  if (weights.embedding_norm.has_value()) bytes += CountBytes(*weights.embedding_norm);
  if (weights.final_norm.has_value()) bytes += CountBytes(*weights.final_norm);
  for (const LayerWeights& layer : weights.layers) {
    bytes += CountBytes(layer.qkv) + CountBytes(layer.out) + CountBytes(layer.mlp_in) +
             CountBytes(layer.mlp_out) + CountBytes(layer.attention_norm) +
             CountBytes(layer.mlp_norm) + CountBytes(layer.projection) +
             CountBytes(layer.bias->table());
  }
  for (const HeadWeights& head : weights.heads) {
    if (head.dense.has_value()) bytes += CountBytes(*head.dense);
    bytes += CountBytes(head.out);
  }
  return bytes;
}

EncoderWeights PlaceWeights(const EncoderWeights& weights, at::Device device,
                            at::ScalarType dtype) {
  Placer placer(device, dtype);
  EncoderWeights placed;
  placed.token_embedding = placer.Narrow(weights.token_embedding);
  if (weights.position_embedding.has_value()) {
    placed.position_embedding = placer.Narrow(*weights.position_embedding);
  }
  placed.embedding_norm = placer.Float32(weights.embedding_norm);
  placed.final_norm = placer.Float32(weights.final_norm);
  for (const LayerWeights& layer : weights.layers) {
    LayerWeights& copy = placed.layers.emplace_back();
    copy.qkv = placer.Narrow(layer.qkv);
    copy.out = placer.Narrow(layer.out);
    copy.projection = placer.Float32(layer.projection);
    copy.bias = layer.bias;
    copy.attention_norm = placer.Float32(layer.attention_norm);
    copy.mlp_in = placer.Narrow(layer.mlp_in);
    copy.mlp_out = placer.Narrow(layer.mlp_out);
    copy.mlp_norm = placer.Float32(layer.mlp_norm);
  }
  for (const HeadWeights& head : weights.heads) {
    HeadWeights& copy = placed.heads.emplace_back();
    if (head.dense.has_value()) copy.dense = placer.Float32(*head.dense);
    copy.out = placer.Float32(head.out);
  }
  placed.parameters = weights.parameters;
  placed.warnings = weights.warnings;
  return placed;
}

}  // namespace longwave
