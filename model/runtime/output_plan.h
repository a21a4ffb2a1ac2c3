#ifndef LONGWAVE_MODEL_RUNTIME_OUTPUT_PLAN_H_
#define LONGWAVE_MODEL_RUNTIME_OUTPUT_PLAN_H_

#include <cstddef>
#include <vector>

#include "absl/types/span.h"
#include "model/checkpoint/model_config.h"
#include "model/encoder/pooling.h"
#include "model/runtime/batch.h"
#include "model/runtime/model.h"

namespace longwave {

// Items whose pooled rows go the same way.
struct PooledGroup {
  // The rows are the answers themselves, not the input of a head.
  static constexpr int kEmbedding = -1;

  int head = kEmbedding;      // index into ModelConfig::heads
  std::vector<size_t> items;  // index into the items
  std::vector<PoolRow> rows;  // one for each
};

// An item that wants the vectors of all its tokens.
struct TokenRows {
  size_t item = 0;
  int64_t begin = 0;  // first token in the packed batch
  int64_t length = 0;
};

// What is to be made of the encoder's output for a batch.
struct OutputPlan {
  std::vector<PooledGroup> groups;
  std::vector<TokenRows> tokens;
};

OutputPlan PlanOutputs(const ModelConfig& config, const PackedBatch& batch,
                       absl::Span<const RunItem> items);

// Whether the answer of an item of this group is to be normalised.
inline bool Normalizes(const PooledGroup& group, const RunItem& item) {
  return group.head == PooledGroup::kEmbedding && item.normalize;
}

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_OUTPUT_PLAN_H_
