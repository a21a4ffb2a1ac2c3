#ifndef LONGWAVE_MODEL_RUNTIME_BATCH_H_
#define LONGWAVE_MODEL_RUNTIME_BATCH_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "model/runtime/model.h"

namespace longwave {

// OK when a model that is described by `info` can run the item.
absl::Status ValidateItem(const RunItem& item, const ModelInfo& info);

// The good items of a batch, one after the other.
struct PackedBatch {
  std::vector<size_t> items;     // index into the batch, of each sequence
  std::vector<int64_t> begins;   // first token of each sequence
  std::vector<int64_t> lengths;  // tokens of each sequence
  std::vector<int32_t> ids;      // of all sequences
};

// Packs the valid items; every other item's result gets its status. `results` has an element per
// item. A batch of more tokens than the operator can count (2^31 - 1) is RESOURCE_EXHAUSTED for the
// items beyond.
PackedBatch PackItems(absl::Span<const RunItem> items, const ModelInfo& info,
                      absl::Span<RunResult> results);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_BATCH_H_
