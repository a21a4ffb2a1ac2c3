#include "model/runtime/output_plan.h"

#include <map>
#include <utility>

namespace longwave {

OutputPlan PlanOutputs(const ModelConfig& config, const PackedBatch& batch,
                       absl::Span<const RunItem> items) {
  OutputPlan plan;
  std::map<int, PooledGroup> groups;
  for (size_t i = 0; i < batch.items.size(); ++i) {
    const size_t index = batch.items[i];
    const RunItem& item = items[index];
    const bool classify = item.task == Task::kClassify;
    if (!classify && item.pooling == Pooling::kNone) {
      plan.tokens.push_back({index, batch.begins[i], batch.lengths[i]});
      continue;
    }
    const int head = classify ? item.head : PooledGroup::kEmbedding;
    PooledGroup& group = groups[head];
    group.head = head;
    group.items.push_back(index);
    group.rows.push_back({batch.begins[i], batch.lengths[i],
                          classify ? config.heads[item.head].pooling : item.pooling});
  }
  for (auto& [head, group] : groups) plan.groups.push_back(std::move(group));
  return plan;
}

}  // namespace longwave
