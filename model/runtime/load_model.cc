#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/status/statusor.h"
#include "model/checkpoint/model_config.h"
#include "model/checkpoint/safetensors.h"
#include "model/device/find_device.h"
#include "model/device/torch_device.h"
#include "model/device/torch_guard.h"
#include "model/encoder/encoder.h"
#include "model/encoder/load_weights.h"
#include "model/runtime/cpu_model.h"
#include "model/runtime/device_model.h"
#include "model/runtime/model.h"
#include "model/tokenizer/factory.h"

namespace longwave {
namespace {

constexpr char kWeightsFile[] = "model.safetensors";

void DescribeModel(const ModelConfig& config, const EncoderWeights& weights, ModelInfo& info) {
  info.hidden_size = config.hidden_size;
  info.vocab_size = config.vocab_size;
  info.max_length = config.max_length;
  info.parameters = weights.parameters;
  info.default_pooling = config.pooling;
  info.can_encode = config.can_encode;
  if (config.can_classify) {
    for (const HeadConfig& head : config.heads) info.heads.push_back({head.name, head.labels});
  }
  info.feature_map = std::string(Name(config.attention.feature_map));
  info.warnings = config.warnings;
  info.warnings.insert(info.warnings.end(), weights.warnings.begin(), weights.warnings.end());
}

int CountThreads(const Model::Options& options) {
  if (options.threads > 0) return options.threads;
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  return cores > 0 ? cores : 1;
}

at::ScalarType ChooseDtype(const std::string& name, const DeviceInfo& device) {
  if (name == "bfloat16") return at::kBFloat16;
  if (name == "float16") return at::kHalf;
  if (name == "float32") return at::kFloat;
  return device.is_cuda ? at::kBFloat16 : at::kFloat;
}

absl::string_view DtypeName(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? "bfloat16" : dtype == at::kHalf ? "float16" : "float32";
}

absl::StatusOr<std::unique_ptr<Model>> LoadChecked(const std::string& folder,
                                                   const Model::Options& options) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  ModelInfo info;
  const absl::StatusOr<Device*> device = FindDevice(options.device);
  if (!device.ok()) return device.status();
  absl::StatusOr<ModelConfig> config = LoadModelConfig(folder);
  if (!config.ok()) return config.status();
  absl::StatusOr<std::unique_ptr<const Tokenizer>> tokenizer = CreateTokenizer(folder, *config);
  if (!tokenizer.ok()) return tokenizer.status();
  const absl::StatusOr<SafetensorsFile> file = SafetensorsFile::Open(folder, kWeightsFile);
  if (!file.ok()) return file.status();
  const absl::StatusOr<EncoderWeights> weights = LoadEncoderWeights(*config, *file);
  if (!weights.ok()) return weights.status();

  const DeviceInfo& target = (*device)->info();
  const at::ScalarType dtype = ChooseDtype(options.dtype, target);
  DescribeModel(*config, *weights, info);
  info.device = target.name;
  info.dtype = std::string(DtypeName(dtype));
  if (target.is_cuda && options.device_memory_limit > 0) {
    absl::Status status = (*device)->SetMemoryLimit(options.device_memory_limit);
    if (!status.ok()) return status;
  }
  Encoder encoder(*std::move(config), PlaceWeights(*weights, TorchDevice(target), dtype));
  const int threads = CountThreads(options);
  if (!target.is_cuda) {
    return std::make_unique<CpuModel>(std::move(info), *std::move(tokenizer), std::move(encoder),
                                      threads, options.batch_invariant);
  }
  DeviceModel::Options device_options;
  device_options.threads = threads;
  device_options.batch_invariant = options.batch_invariant;
  return DeviceModel::Create(std::move(info), *std::move(tokenizer), *device, std::move(encoder),
                             device_options);
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
