#include "model/runtime/device_model.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/memory/memory.h"
#include "model/encoder/layer.h"

namespace longwave {
namespace {

// An H100 in matrix products of bfloat16.
constexpr double kFlopPerMillisecond = 400e9;

// Long enough for what grows with the length to show.
constexpr int64_t kProbeTokens = 16384;

// What the allocator rounds up, and the small things.
constexpr int64_t kFixedBytes = int64_t{64} << 20;
constexpr double kMargin = 1.05;

}  // namespace

DeviceModel::DeviceModel(ModelInfo info, std::unique_ptr<const Tokenizer> tokenizer, Device* device,
                         Encoder encoder, const Options& options)
    : EncoderModel(std::move(info), std::move(tokenizer), std::move(encoder),
                   {options.threads, options.batch_invariant, kFlopPerMillisecond}),
      device_(device),
      // A graph computes a sequence in other steps than the launches before there is one.
      graph_tokens_(device->info().fast_graphs && !options.batch_invariant ? options.graph_tokens
                                                                           : 0) {}

absl::StatusOr<std::unique_ptr<DeviceModel>> DeviceModel::Create(
    ModelInfo info, std::unique_ptr<const Tokenizer> tokenizer, Device* device, Encoder encoder,
    const Options& options) {
  auto model = absl::WrapUnique(
      new DeviceModel(std::move(info), std::move(tokenizer), device, std::move(encoder), options));
  // The weights came by another stream.
  if (absl::Status status = device->Synchronize(); !status.ok()) return status;
  if (absl::Status status = model->MeasureMemory(); !status.ok()) return status;
  const absl::StatusOr<DeviceMemory> memory = device->Memory();
  if (!memory.ok()) return memory.status();
  model->mutable_info().free_memory = memory->available();
  model->mutable_info().shares_device = device->info().shares_streams;
  return model;
}

int64_t DeviceModel::ActivationBytes(int64_t tokens) const {
  const ModelConfig& config = encoder().config();
  const auto element = static_cast<int64_t>(c10::elementSize(encoder().dtype()));
  return tokens * config.hidden_size * element +
         LayerWorkspaceBytes(config, tokens, element, encoder().device().is_cuda());
}

int64_t DeviceModel::EstimateMemory(const BatchShape& shape) const {
  const auto tokens = static_cast<double>(shape.tokens);
  return kFixedBytes +
         static_cast<int64_t>(kMargin * static_cast<double>(ActivationBytes(shape.tokens)) +
                              kMargin * attention_bytes_per_token_ * tokens);
}

absl::Status DeviceModel::MeasureMemory() {
  const std::vector<int32_t> ids(std::min(info().max_length, kProbeTokens), 0);
  RunItem item;
  item.tokens = ids;
  item.task = info().can_encode ? Task::kEncode : Task::kClassify;
  const absl::StatusOr<DeviceMemory> before = device_->Memory();
  if (!before.ok()) return before.status();
  device_->ResetPeakMemory();
  const std::vector<RunResult> results = Run({&item, 1});
  if (!results[0].status.ok()) return results[0].status;
  const absl::StatusOr<DeviceMemory> after = device_->Memory();
  if (!after.ok()) return after.status();
  const auto tokens = static_cast<int64_t>(ids.size());
  const int64_t taken = after->peak_used - before->used;
  attention_bytes_per_token_ =
      static_cast<double>(std::max<int64_t>(0, taken - ActivationBytes(tokens))) /
      static_cast<double>(tokens);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Lane>> DeviceModel::TakeLane(bool background) {
  {
    const absl::MutexLock lock(&mutex_);
    std::vector<std::unique_ptr<Lane>>& idle = idle_[background];
    if (!idle.empty()) {
      std::unique_ptr<Lane> lane = std::move(idle.back());
      idle.pop_back();
      return lane;
    }
  }
  return Lane::Create(device_, &encoder(),
                      background ? StreamPriority::kLow : StreamPriority::kHigh, graph_tokens_);
}

void DeviceModel::ReturnLane(bool background, std::unique_ptr<Lane> lane) {
  const absl::MutexLock lock(&mutex_);
  idle_[background].push_back(std::move(lane));
}

absl::Status DeviceModel::RunPacked(const PackedBatch& batch, absl::Span<const RunItem> items,
                                    const RunOptions& options, absl::Span<RunResult> results) {
  ContinueOrThrow(options);
  absl::StatusOr<std::unique_ptr<Lane>> lane = TakeLane(options.background);
  if (!lane.ok()) return lane.status();
  const absl::Status status = (*lane)->Run(
      batch, items,
      options.control == nullptr ? std::function<bool()>()
                                 : [&options, this] {
                                     ContinueOrThrow(options);
                                     return options.control->crowded();
                                   },
      results);
  if (absl::IsResourceExhausted(status)) {
    // Nothing of the failed run is left to the next, smaller one.
    lane->reset();
    device_->ReleaseCachedMemory().IgnoreError();
    return status;
  }
  ReturnLane(options.background, *std::move(lane));
  return status;
}

}  // namespace longwave
