#include "server/rpc/model_executor.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/inference_item.h"

namespace longwave {

std::vector<absl::Status> ModelExecutor::Run(absl::Span<WorkItem* const> items) {
  std::vector<RunItem> batch;
  batch.reserve(items.size());
  for (const WorkItem* item : items) {
    batch.push_back(static_cast<const InferenceItem*>(item)->run_item());
  }
  std::vector<RunResult> results = model_->Run(batch);
  if (results.size() != items.size()) {
    return std::vector<absl::Status>(
        items.size(), absl::InternalError(absl::StrCat("the model returned ", results.size(),
                                                       " results for ", items.size(), " items")));
  }
  std::vector<absl::Status> statuses;
  statuses.reserve(items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    statuses.push_back(results[i].status);
    static_cast<InferenceItem*>(items[i])->set_result(std::move(results[i]));
  }
  return statuses;
}

}  // namespace longwave
