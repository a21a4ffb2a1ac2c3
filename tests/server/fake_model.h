#ifndef LONGWAVE_TESTS_SERVER_FAKE_MODEL_H_
#define LONGWAVE_TESTS_SERVER_FAKE_MODEL_H_

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "model/runtime/model.h"
#include "model/tokenizer/byte_tokenizer.h"

namespace longwave {

// A byte-level model without weights, whose results are easy to tell and whose batches a test can
// hold. Ids 256 and 257 stand before and after every text. Thread-safe.
class FakeModel final : public Model {
 public:
  static constexpr int64_t kHiddenSize = 64;
  static constexpr int64_t kMaxLength = 100;
  static constexpr int64_t kVocabSize = 258;
  static constexpr int kLabels = 3;

  // Two heads, "kind" and "size", with three labels each.
  FakeModel();
  explicit FakeModel(ModelInfo info) : info_(std::move(info)) {}
  static ModelInfo DefaultInfo();

  const ModelInfo& info() const override { return info_; }
  const Tokenizer& tokenizer() const override { return tokenizer_; }

  // One plan for layer 0, its heads 0 and 1 and all lengths, by the algorithm "fake".
  absl::StatusOr<std::vector<AttentionPlan>> PlanAttention(
      absl::Span<const int64_t> lengths) const override;
  using Model::Run;
  std::vector<RunResult> Run(absl::Span<const RunItem> items, const RunOptions& options) override;
  int64_t EstimateMemory(const BatchShape& shape) const override { return shape.tokens; }
  double PredictMilliseconds(int64_t tokens) const override { return static_cast<double>(tokens); }

  // Row `row` of what kEncode without pooling and normalisation gives for `tokens`; with pooling,
  // row 0 is the result.
  static std::vector<float> Row(absl::Span<const int32_t> tokens, int64_t row);

  // From now on batches wait before they end, until Release().
  void Hold();
  void Release();

  // Lets the batch that is held end, and no other.
  void ReleaseBatch();

  // From now on batches of more items are more than the memory holds; 0: none are.
  void set_batch_limit(size_t items);

  // Blocks until a batch is held; returns the lengths of its items.
  std::vector<int64_t> AwaitHeldBatch();

  // From now on each item is passed to `fault` first, whose error becomes the item's, and before a
  // plan an item without tokens. May throw.
  void set_fault(std::function<absl::Status(const RunItem&)> fault);

  // Number of items that were run.
  int64_t items_run() const;

  // Number of items of each batch so far.
  std::vector<int64_t> batch_sizes() const;

  // Forgets what was run so far, such as the warm-up.
  void ResetCounts();

 private:
  RunResult RunOne(const RunItem& item) const;

  const ModelInfo info_;
  const ByteTokenizer tokenizer_{kVocabSize, {256}, {257}};

  mutable absl::Mutex mutex_;
  bool holding_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<int64_t> held_ ABSL_GUARDED_BY(mutex_);
  bool release_batch_ ABSL_GUARDED_BY(mutex_) = false;
  size_t batch_limit_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<int64_t> batch_sizes_ ABSL_GUARDED_BY(mutex_);
  std::function<absl::Status(const RunItem&)> fault_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SERVER_FAKE_MODEL_H_
