#ifndef LONGWAVE_MODEL_RUNTIME_DEVICE_MODEL_H_
#define LONGWAVE_MODEL_RUNTIME_DEVICE_MODEL_H_

#include <array>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "model/device/device.h"
#include "model/runtime/encoder_model.h"
#include "model/runtime/lane.h"

namespace longwave {

// A model on a device with streams. Runs of several threads share the device: each has a lane of
// its own, those in the background with a lower priority. For .cc files only: it shows torch types.
class DeviceModel final : public EncoderModel {
 public:
  struct Options {
    int threads = 1;               // of the host in one call, at least 1
    bool batch_invariant = false;  // as in Model::Options

    // Batches of up to so many tokens are captured as graphs; 0: none.
    int64_t graph_tokens = 4096;
  };

  // The encoder's weights are on `device`, which is not owned. Runs a batch to learn what memory it
  // takes. May throw c10::Error.
  static absl::StatusOr<std::unique_ptr<DeviceModel>> Create(
      ModelInfo info, std::unique_ptr<const Tokenizer> tokenizer, Device* device, Encoder encoder,
      const Options& options);

  int64_t EstimateMemory(const BatchShape& shape) const override;

 private:
  DeviceModel(ModelInfo info, std::unique_ptr<const Tokenizer> tokenizer, Device* device,
              Encoder encoder, const Options& options);

  absl::Status RunPacked(const PackedBatch& batch, absl::Span<const RunItem> items,
                         const RunOptions& options, absl::Span<RunResult> results) override;

  // Of the activations, by the sizes of the model.
  int64_t ActivationBytes(int64_t tokens) const;
  absl::Status MeasureMemory();

  absl::StatusOr<std::unique_ptr<Lane>> TakeLane(bool background);
  void ReturnLane(bool background, std::unique_ptr<Lane> lane);

  Device* const device_;
  const int64_t graph_tokens_;
  double attention_bytes_per_token_ = 0;

  absl::Mutex mutex_;
  std::array<std::vector<std::unique_ptr<Lane>>, 2> idle_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_DEVICE_MODEL_H_
