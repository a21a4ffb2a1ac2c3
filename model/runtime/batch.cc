#include "model/runtime/batch.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

// Offsets into a packed batch are int32.
constexpr int64_t kMaxBatchTokens = INT32_MAX;

absl::Status ValidateTask(const RunItem& item, const ModelInfo& info) {
  if (item.task == Task::kEncode) {
    if (info.can_encode) return absl::OkStatus();
    return absl::InvalidArgumentError("task: found encode, but the model does not serve it");
  }
  const auto heads = static_cast<int64_t>(info.heads.size());
  if (heads == 0) {
    return absl::InvalidArgumentError("task: found classify, but the model does not serve it");
  }
  if (item.head < 0 || item.head >= heads) {
    return absl::InvalidArgumentError(
        absl::StrCat("head: found ", item.head, ", expected 0 to ", heads - 1));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateItem(const RunItem& item, const ModelInfo& info) {
  if (absl::Status status = ValidateTask(item, info); !status.ok()) return status;
  const auto length = static_cast<int64_t>(item.tokens.size());
  if (length == 0) {
    return absl::InvalidArgumentError("tokens: found none, expected at least one");
  }
  if (length > info.max_length) {
    return absl::OutOfRangeError(absl::StrCat(
        "tokens: found ", length, ", expected at most the model's max_length, ", info.max_length));
  }
  for (int64_t i = 0; i < length; ++i) {
    if (item.tokens[i] < 0 || item.tokens[i] >= info.vocab_size) {
      return absl::InvalidArgumentError(absl::StrCat("tokens[", i, "]: found id ", item.tokens[i],
                                                     ", expected 0 to ", info.vocab_size - 1));
    }
  }
  return absl::OkStatus();
}

PackedBatch PackItems(absl::Span<const RunItem> items, const ModelInfo& info,
                      absl::Span<RunResult> results) {
  PackedBatch batch;
  int64_t tokens = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    const auto length = static_cast<int64_t>(items[i].tokens.size());
    absl::Status status = ValidateItem(items[i], info);
    if (status.ok() && length > kMaxBatchTokens - tokens) {
      status = absl::ResourceExhaustedError(
          absl::StrCat("batch: found more than ", kMaxBatchTokens, " tokens"));
    }
    if (!status.ok()) {
      results[i].status = std::move(status);
      continue;
    }
    batch.items.push_back(i);
    batch.begins.push_back(tokens);
    batch.lengths.push_back(length);
    tokens += length;
  }
  batch.ids.reserve(tokens);
  for (const size_t item : batch.items) {
    batch.ids.insert(batch.ids.end(), items[item].tokens.begin(), items[item].tokens.end());
  }
  return batch;
}

}  // namespace longwave
