#include "tests/server/fake_model.h"

#include <numeric>
#include <utility>

namespace longwave {

ModelInfo FakeModel::DefaultInfo() {
  ModelInfo info;
  info.hidden_size = kHiddenSize;
  info.vocab_size = kVocabSize;
  info.max_length = kMaxLength;
  info.parameters = 4242;
  info.default_pooling = Pooling::kMean;
  info.heads = {{"kind", {"prose", "code", "data"}}, {"size", {"small", "medium", "large"}}};
  info.device = "cpu";
  info.feature_map = "prf";
  return info;
}

FakeModel::FakeModel() : info_(DefaultInfo()) {}

std::vector<float> FakeModel::Row(absl::Span<const int32_t> tokens, int64_t row) {
  std::vector<float> values(kHiddenSize);
  for (int64_t c = 0; c < kHiddenSize; ++c) {
    values[c] = static_cast<float>(tokens[row]) + 0.125f * static_cast<float>(c) +
                1000.0f * static_cast<float>(row);
  }
  return values;
}

RunResult FakeModel::RunOne(const RunItem& item) const {
  RunResult result;
  if (item.task == Task::kClassify) {
    // The first token decides: two labels are equally probable, the third gets the rest.
    result.rows = 1;
    result.cols = kLabels;
    result.values.assign(kLabels, 0.25f);
    result.values[item.tokens.front() % kLabels] = 0.5f;
    return result;
  }
  result.rows =
      item.pooling == Pooling::kNone ? static_cast<int64_t>(item.tokens.size()) : int64_t{1};
  result.cols = kHiddenSize;
  for (int64_t row = 0; row < result.rows; ++row) {
    const std::vector<float> values = Row(item.tokens, row);
    result.values.insert(result.values.end(), values.begin(), values.end());
  }
  return result;
}

absl::StatusOr<std::vector<AttentionPlan>> FakeModel::PlanAttention(
    absl::Span<const int64_t> lengths) const {
  std::function<absl::Status(const RunItem&)> fault;
  {
    absl::MutexLock lock(&mutex_);
    fault = fault_;
  }
  if (absl::Status status = fault ? fault(RunItem()) : absl::OkStatus(); !status.ok()) {
    return status;
  }
  for (const int64_t length : lengths) {
    if (length < 1 || length > info_.max_length) {
      return absl::InvalidArgumentError("lengths: out of range");
    }
  }
  return std::vector<AttentionPlan>{
      {{0}, {0, 1}, {lengths.begin(), lengths.end()}, "fake", "the only one", 1e-6, 2.5}};
}

std::vector<RunResult> FakeModel::Run(absl::Span<const RunItem> items, const RunOptions&) {
  std::function<absl::Status(const RunItem&)> fault;
  {
    absl::MutexLock lock(&mutex_);
    batch_sizes_.push_back(static_cast<int64_t>(items.size()));
    if (holding_) {
      for (const RunItem& item : items) held_.push_back(static_cast<int64_t>(item.tokens.size()));
      const auto released = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
        return !holding_ || release_batch_;
      };
      mutex_.Await(absl::Condition(&released));
      held_.clear();
      release_batch_ = false;
    }
    if (batch_limit_ > 0 && items.size() > batch_limit_) {
      return std::vector<RunResult>(items.size(),
                                    {absl::ResourceExhaustedError("no memory"), 0, 0, {}});
    }
    fault = fault_;
  }
  std::vector<RunResult> results;
  for (const RunItem& item : items) {
    absl::Status status = fault ? fault(item) : absl::OkStatus();
    results.push_back(status.ok() ? RunOne(item) : RunResult{std::move(status), 0, 0, {}});
  }
  return results;
}

void FakeModel::Hold() {
  absl::MutexLock lock(&mutex_);
  holding_ = true;
}

void FakeModel::Release() {
  absl::MutexLock lock(&mutex_);
  holding_ = false;
}

void FakeModel::ReleaseBatch() {
  const auto ended = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !release_batch_; };
  absl::MutexLock lock(&mutex_);
  release_batch_ = true;
  mutex_.Await(absl::Condition(&ended));
}

void FakeModel::set_batch_limit(size_t items) {
  absl::MutexLock lock(&mutex_);
  batch_limit_ = items;
}

std::vector<int64_t> FakeModel::AwaitHeldBatch() {
  const auto held = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !held_.empty(); };
  absl::MutexLock lock(&mutex_);
  mutex_.Await(absl::Condition(&held));
  return held_;
}

void FakeModel::set_fault(std::function<absl::Status(const RunItem&)> fault) {
  absl::MutexLock lock(&mutex_);
  fault_ = std::move(fault);
}

int64_t FakeModel::items_run() const {
  absl::MutexLock lock(&mutex_);
  return std::accumulate(batch_sizes_.begin(), batch_sizes_.end(), int64_t{0});
}

std::vector<int64_t> FakeModel::batch_sizes() const {
  absl::MutexLock lock(&mutex_);
  return batch_sizes_;
}

void FakeModel::ResetCounts() {
  absl::MutexLock lock(&mutex_);
  batch_sizes_.clear();
}

}  // namespace longwave
