#include "model/encoder/load_weights.h"

#include <c10/util/Exception.h>

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "model/device/torch_guard.h"
#include "model/encoder/weight_reader.h"

namespace longwave {
namespace {

// The error that the attention promises, as a share of max|v| (float32).
constexpr double kTolerance = 1e-5;

LinearWeights ReadLinear(const std::string& name, int64_t out, int64_t in, WeightReader& reader) {
  return {reader.Read(absl::StrCat(name, ".weight"), {out, in}),
          reader.Read(absl::StrCat(name, ".bias"), {out})};
}

NormWeights ReadNorm(const std::string& name, int64_t width, WeightReader& reader) {
  return {reader.Read(absl::StrCat(name, ".weight"), {width}),
          reader.Read(absl::StrCat(name, ".bias"), {width}), std::nullopt};
}

LinearWeights ReadQkv(const std::string& prefix, int64_t width, WeightReader& reader) {
  std::vector<std::string> weights, biases;
  for (const char* part : {"q", "k", "v"}) {
    weights.push_back(absl::StrCat(prefix, part, ".weight"));
    biases.push_back(absl::StrCat(prefix, part, ".bias"));
  }
  return {reader.ReadStacked(weights, {width, width}), reader.ReadStacked(biases, {width})};
}

at::Tensor ReadProjection(const std::string& prefix, const ModelConfig& config,
                          WeightReader& reader) {
  const int64_t features = config.attention.num_features;
  return reader.ReadFloat32(
      absl::StrCat(prefix, "projection"),
      {{features, config.head_dim()}, {config.num_attention_heads, features, config.head_dim()}},
      /*finite=*/true);
}

c10::intrusive_ptr<attention::RelativeBias> ReadBias(const std::string& prefix,
                                                     const ModelConfig& config,
                                                     WeightReader& reader) {
  const std::string name = absl::StrCat(prefix, "relative_bias");
  const at::Tensor table = reader.ReadFloat32(
      name, {{config.num_attention_heads, 2 * config.attention.max_distance - 1}},
      /*finite=*/false);
  if (!table.defined()) return {};
  try {
    // Its constructor knows which values are legal.
    auto bias = c10::make_intrusive<attention::RelativeBias>(
        table, std::string(Name(config.attention.feature_map)), config.attention.causal,
        config.max_length, kTolerance);
    bias->structures();  // analysed here, so that no request pays for it
    return bias;
  } catch (const c10::Error& error) {
    reader.Fail(name, error.what_without_backtrace());
    return {};
  }
}

LayerWeights ReadLayer(int64_t index, const ModelConfig& config, const LayerWeights& shared,
                       WeightReader& reader) {
  const int64_t width = config.hidden_size;
  const std::string layer = absl::StrCat("encoder.layers.", index, ".");
  const std::string attention = absl::StrCat(layer, "attention.");
  LayerWeights weights;
  weights.qkv = ReadQkv(attention, width, reader);
  weights.out = ReadLinear(absl::StrCat(attention, "out"), width, width, reader);
  weights.projection =
      shared.projection.defined() ? shared.projection : ReadProjection(attention, config, reader);
  weights.bias = shared.bias ? shared.bias : ReadBias(attention, config, reader);
  weights.attention_norm = ReadNorm(absl::StrCat(layer, "attention_norm"), width, reader);
  weights.mlp_in =
      ReadLinear(absl::StrCat(layer, "mlp.in"), config.intermediate_size, width, reader);
  weights.mlp_out =
      ReadLinear(absl::StrCat(layer, "mlp.out"), width, config.intermediate_size, reader);
  weights.mlp_norm = ReadNorm(absl::StrCat(layer, "mlp_norm"), width, reader);
  return weights;
}

HeadWeights ReadHead(const HeadConfig& head, int64_t width, WeightReader& reader) {
  const std::string prefix = absl::StrCat("heads.", head.name, ".");
  HeadWeights weights;
  if (head.dense) weights.dense = ReadLinear(absl::StrCat(prefix, "dense"), width, width, reader);
  weights.out = ReadLinear(absl::StrCat(prefix, "out"), static_cast<int64_t>(head.labels.size()),
                           width, reader);
  return weights;
}

EncoderWeights ReadAll(const ModelConfig& config, WeightReader& reader) {
  const int64_t width = config.hidden_size;
  EncoderWeights weights;
  weights.token_embedding =
      reader.Read("encoder.embeddings.token.weight", {config.vocab_size, width});
  if (config.max_position_embeddings > 0) {
    weights.position_embedding =
        reader.Read("encoder.embeddings.position.weight", {config.max_position_embeddings, width});
  }
  if (config.embedding_norm) {
    weights.embedding_norm = ReadNorm("encoder.embeddings.norm", width, reader);
  }
  LayerWeights shared;
  constexpr char kShared[] = "encoder.attention.";
  if (config.attention.shared_projection) {
    shared.projection = ReadProjection(kShared, config, reader);
  }
  if (config.attention.shared_bias) shared.bias = ReadBias(kShared, config, reader);
  for (int64_t i = 0; i < config.num_hidden_layers && reader.status().ok(); ++i) {
    weights.layers.push_back(ReadLayer(i, config, shared, reader));
  }
  if (config.norm_position == NormPosition::kPre) {
    weights.final_norm = ReadNorm("encoder.final_norm", width, reader);
  }
  for (const HeadConfig& head : config.heads) {
    weights.heads.push_back(ReadHead(head, width, reader));
  }
  return weights;
}

}  // namespace

absl::StatusOr<EncoderWeights> LoadEncoderWeights(const ModelConfig& config,
                                                  const SafetensorsFile& file) {
  EncoderWeights weights;
  WeightReader reader(&file);
  const absl::Status status = GuardTorch([&] {
    weights = ReadAll(config, reader);
    if (reader.status().ok()) SetNormShifts(config.norm_position == NormPosition::kPre, weights);
    return reader.status();
  });
  if (!status.ok()) return status;
  weights.parameters = reader.parameters();
  for (const std::string& name : reader.UnusedTensors()) {
    weights.warnings.push_back(
        absl::StrCat(file.path(), ": tensor '", name, "': unknown, ignored"));
  }
  return weights;
}

}  // namespace longwave
