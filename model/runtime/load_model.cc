#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "model/checkpoint/model_config.h"
#include "model/checkpoint/safetensors.h"
#include "model/device/torch_guard.h"
#include "model/encoder/encoder.h"
#include "model/encoder/load_weights.h"
#include "model/runtime/cpu_model.h"
#include "model/runtime/model.h"
#include "model/tokenizer/factory.h"

namespace longwave {
namespace {

constexpr char kWeightsFile[] = "model.safetensors";

ModelInfo DescribeModel(const ModelConfig& config, const EncoderWeights& weights) {
  ModelInfo info;
  info.hidden_size = config.hidden_size;
  info.vocab_size = config.vocab_size;
  info.max_length = config.max_length;
  info.parameters = weights.parameters;
  info.default_pooling = config.pooling;
  info.can_encode = config.can_encode;
  if (config.can_classify) {
    for (const HeadConfig& head : config.heads) info.heads.push_back({head.name, head.labels});
  }
  info.device = "cpu";
  info.feature_map = std::string(Name(config.attention.feature_map));
  info.warnings = config.warnings;
  info.warnings.insert(info.warnings.end(), weights.warnings.begin(), weights.warnings.end());
  return info;
}

int CountThreads(const Model::Options& options) {
  if (options.threads > 0) return options.threads;
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  return cores > 0 ? cores : 1;
}

absl::StatusOr<std::unique_ptr<Model>> LoadChecked(const std::string& folder,
                                                   const Model::Options& options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  absl::StatusOr<ModelConfig> config = LoadModelConfig(folder);
  if (!config.ok()) return config.status();
  absl::StatusOr<std::unique_ptr<const Tokenizer>> tokenizer = CreateTokenizer(folder, *config);
  if (!tokenizer.ok()) return tokenizer.status();
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(folder, kWeightsFile);
  if (!file.ok()) return file.status();
  absl::StatusOr<EncoderWeights> weights = LoadEncoderWeights(*config, *file);
  if (!weights.ok()) return weights.status();
  ModelInfo info = DescribeModel(*config, *weights);
  return std::make_unique<CpuModel>(std::move(info), *std::move(tokenizer),
                                    Encoder(*std::move(config), *std::move(weights)),
                                    CountThreads(options), options.batch_invariant);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Model>> Model::Load(const std::string& folder,
                                                   const Options& options) {
  absl::StatusOr<std::unique_ptr<Model>> model = absl::UnknownError("not loaded");
  const absl::Status status = GuardTorch([&] {
    model = LoadChecked(folder, options);
    return model.status();
  });
  if (!status.ok()) return status;
  return model;
}

}  // namespace longwave
