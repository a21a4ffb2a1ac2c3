#include "tests/support/random_model.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/files.h"

namespace longwave::testing {
namespace {

using Json = nlohmann::json;

// Draws tensors into a map.
class Drawer {
 public:
  explicit Drawer(uint64_t seed) : generator_(seed) {}

  void Normal(const std::string& name, std::vector<int64_t> shape, double mean, double deviation) {
    int64_t count = 1;
    for (const int64_t size : shape) count *= size;
    std::normal_distribution<double> distribution(mean, deviation);
    FloatTensor tensor{std::move(shape), std::vector<float>(count)};
    for (float& value : tensor.values) value = static_cast<float>(distribution(generator_));
    weights_[name] = std::move(tensor);
  }

  void Linear(const std::string& name, int64_t out, int64_t in) {
    Normal(absl::StrCat(name, ".weight"), {out, in}, 0, 1 / std::sqrt(static_cast<double>(in)));
    Normal(absl::StrCat(name, ".bias"), {out}, 0, 0.1);
  }

  void Norm(const std::string& name, int64_t width) {
    Normal(absl::StrCat(name, ".weight"), {width}, 1, 0.1);
    Normal(absl::StrCat(name, ".bias"), {width}, 0, 0.1);
  }

  WeightMap Take() { return std::move(weights_); }

 private:
  std::mt19937_64 generator_;
  WeightMap weights_;
};

Json HeadJson(const HeadConfig& head) {
  Json labels = Json::object();
  for (size_t i = 0; i < head.labels.size(); ++i) labels[std::to_string(i)] = head.labels[i];
  return {{"name", head.name},
          {"pooling", std::string(Name(head.pooling))},
          {"dense", head.dense},
          {"id2label", labels}};
}

}  // namespace

ModelConfig SmallModelConfig() {
  ModelConfig config;
  config.hidden_size = 32;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 4;
  config.intermediate_size = 64;
  config.vocab_size = 260;
  config.max_length = 512;
  config.attention.num_features = 16;
  config.attention.max_distance = 64;
  config.can_classify = true;
  config.heads = {{"topic", Pooling::kMean, false, {"prose", "code", "data"}},
                  {"dense", Pooling::kFirstToken, true, {"a", "b", "c", "d", "e"}}};
  config.tokenizer.prefix_ids = {256};
  return config;
}

std::string ConfigJson(const ModelConfig& config) {
  const AttentionConfig& attention = config.attention;
  Json json = {
      {"format_version", 1},
      {"hidden_size", config.hidden_size},
      {"num_hidden_layers", config.num_hidden_layers},
      {"num_attention_heads", config.num_attention_heads},
      {"intermediate_size", config.intermediate_size},
      {"hidden_act", std::string(Name(config.hidden_act))},
      {"layer_norm_eps", config.layer_norm_eps},
      {"norm_position", std::string(Name(config.norm_position))},
      {"embedding_norm", config.embedding_norm},
      {"vocab_size", config.vocab_size},
      {"max_position_embeddings", config.max_position_embeddings},
      {"max_length", config.max_length},
      {"attention",
       {{"feature_map", std::string(Name(attention.feature_map))},
        {"num_features", attention.num_features},
        {"normalize", attention.normalize},
        {"scale", attention.scale},
        {"causal", attention.causal},
        {"shared_projection", attention.shared_projection},
        {"shared_bias", attention.shared_bias},
        {"max_distance", attention.max_distance}}},
      {"pooling", std::string(Name(config.pooling))},
      {"tasks", Json::array()},
      {"heads", Json::array()},
      {"tokenizer", {{"type", std::string(Name(config.tokenizer.type))}}},
  };
  if (config.can_encode) json["tasks"].push_back("encode");
  if (config.can_classify) json["tasks"].push_back("classify");
  for (const HeadConfig& head : config.heads) json["heads"].push_back(HeadJson(head));
  if (config.tokenizer.type != TokenizerType::kIds) {
    json["tokenizer"]["prefix_ids"] = config.tokenizer.prefix_ids;
    json["tokenizer"]["suffix_ids"] = config.tokenizer.suffix_ids;
  }
  if (!config.tokenizer.file.empty()) json["tokenizer"]["file"] = config.tokenizer.file;
  return json.dump(2);
}

WeightMap RandomWeights(const ModelConfig& config, uint64_t seed) {
  Drawer draw(seed);
  const int64_t width = config.hidden_size;
  const AttentionConfig& attention = config.attention;
  const auto attention_tables = [&](const std::string& prefix, bool projection, bool bias) {
    if (projection) {
      draw.Normal(absl::StrCat(prefix, "projection"), {attention.num_features, config.head_dim()},
                  0, 1);
    }
    if (bias) {
      draw.Normal(absl::StrCat(prefix, "relative_bias"),
                  {config.num_attention_heads, 2 * attention.max_distance - 1}, 0, 1);
    }
  };
  draw.Normal("encoder.embeddings.token.weight", {config.vocab_size, width}, 0, 1);
  if (config.max_position_embeddings > 0) {
    draw.Normal("encoder.embeddings.position.weight", {config.max_position_embeddings, width}, 0,
                0.5);
  }
  if (config.embedding_norm) draw.Norm("encoder.embeddings.norm", width);
  attention_tables("encoder.attention.", attention.shared_projection, attention.shared_bias);
  for (int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string layer = absl::StrCat("encoder.layers.", i, ".");
    for (const char* part : {"q", "k", "v", "out"}) {
      draw.Linear(absl::StrCat(layer, "attention.", part), width, width);
    }
    attention_tables(absl::StrCat(layer, "attention."), !attention.shared_projection,
                     !attention.shared_bias);
    draw.Norm(absl::StrCat(layer, "attention_norm"), width);
    draw.Linear(absl::StrCat(layer, "mlp.in"), config.intermediate_size, width);
    draw.Linear(absl::StrCat(layer, "mlp.out"), width, config.intermediate_size);
    draw.Norm(absl::StrCat(layer, "mlp_norm"), width);
  }
  if (config.norm_position == NormPosition::kPre) draw.Norm("encoder.final_norm", width);
  for (const HeadConfig& head : config.heads) {
    const std::string prefix = absl::StrCat("heads.", head.name, ".");
    if (head.dense) draw.Linear(absl::StrCat(prefix, "dense"), width, width);
    draw.Linear(absl::StrCat(prefix, "out"), static_cast<int64_t>(head.labels.size()), width);
  }
  return draw.Take();
}

void WriteModel(const std::string& folder, const ModelConfig& config, const WeightMap& weights,
                TensorType type) {
  WriteFile(folder, kConfigFile, ConfigJson(config));
  WriteFile(folder, "model.safetensors", SerializeSafetensors(weights, type));
}

void WriteRandomModel(const std::string& folder, const ModelConfig& config, uint64_t seed) {
  WriteModel(folder, config, RandomWeights(config, seed));
}

}  // namespace longwave::testing
