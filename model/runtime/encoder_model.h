#ifndef LONGWAVE_MODEL_RUNTIME_ENCODER_MODEL_H_
#define LONGWAVE_MODEL_RUNTIME_ENCODER_MODEL_H_

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "model/encoder/encoder.h"
#include "model/runtime/batch.h"
#include "model/runtime/model.h"
#include "model/runtime/time_model.h"

namespace longwave {

// What a model is on every device: an encoder, run by LibTorch, and the checks, plans and
// predictions around it. How a batch gets through the encoder is a subclass's part. For .cc files
// only: it shows torch types.
class EncoderModel : public Model {
 public:
  struct Options {
    int threads = 1;                  // of the host in one call, at least 1
    bool batch_invariant = false;     // as in Model::Options
    double flop_per_millisecond = 1;  // of the device in matrix products
  };

  // May throw c10::Error.
  EncoderModel(ModelInfo info, std::unique_ptr<const Tokenizer> tokenizer, Encoder encoder,
               const Options& options);

  const ModelInfo& info() const override { return info_; }
  const Tokenizer& tokenizer() const override { return *tokenizer_; }
  absl::StatusOr<std::vector<AttentionPlan>> PlanAttention(
      absl::Span<const int64_t> lengths) const override;
  double PredictMilliseconds(int64_t tokens) const override { return time_.Milliseconds(tokens); }
  using Model::Run;
  std::vector<RunResult> Run(absl::Span<const RunItem> items, const RunOptions& options) override;

 protected:
  // Fills the results of all sequences of the batch, which has one at least; called in inference
  // mode. May throw c10::Error, and what ContinueOrThrow() throws.
  virtual absl::Status RunPacked(const PackedBatch& batch, absl::Span<const RunItem> items,
                                 const RunOptions& options, absl::Span<RunResult> results) = 0;

  // Asks the run's control, if there is one, whether to go on, and ends the run if not.
  void ContinueOrThrow(const RunOptions& options) const;

  const Encoder& encoder() const { return encoder_; }
  ModelInfo& mutable_info() { return info_; }  // for constructors

 private:
  // Runs valid or invalid items as one batch. Never throws.
  void RunBatch(absl::Span<const RunItem> items, const RunOptions& options,
                absl::Span<RunResult> results);

  ModelInfo info_;
  const std::unique_ptr<const Tokenizer> tokenizer_;
  const Encoder encoder_;
  const Options options_;
  const TimeModel time_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_ENCODER_MODEL_H_
