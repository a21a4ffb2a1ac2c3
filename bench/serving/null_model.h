#ifndef LONGWAVE_BENCH_SERVING_NULL_MODEL_H_
#define LONGWAVE_BENCH_SERVING_NULL_MODEL_H_

#include <cstdint>
#include <vector>

#include "absl/time/time.h"
#include "model/runtime/model.h"
#include "model/tokenizer/ids_tokenizer.h"

namespace longwave::bench {

// A model that computes nothing, so that what a request takes is what the server itself takes. Its
// vectors are made of a hash of the ids, so that an answer to another request is noticed.
class NullModel final : public Model {
 public:
  struct Options {
    int64_t hidden_size = 768;
    int64_t vocab_size = 30522;
    int64_t max_length = int64_t{1} << 20;

    // How long a batch sleeps, as a device that is busy would let the host sleep.
    absl::Duration time_per_token = absl::ZeroDuration();

    // Batches of both lanes at once, as on a GPU; otherwise short ones in the gaps of long ones.
    bool shares_device = false;
  };

  explicit NullModel(const Options& options);

  const ModelInfo& info() const override { return info_; }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  absl::StatusOr<std::vector<AttentionPlan>> PlanAttention(
      absl::Span<const int64_t> lengths) const override;
  int64_t EstimateMemory(const BatchShape& shape) const override;
  double PredictMilliseconds(int64_t tokens) const override;

  using Model::Run;
  std::vector<RunResult> Run(absl::Span<const RunItem> items, const RunOptions& options) override;

 private:
  RunResult RunOne(const RunItem& item) const;

  const Options options_;
  const IdsTokenizer tokenizer_;
  ModelInfo info_;
};

}  // namespace longwave::bench

#endif  // LONGWAVE_BENCH_SERVING_NULL_MODEL_H_
