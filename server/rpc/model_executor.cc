#include "server/rpc/model_executor.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "server/rpc/inference_item.h"

namespace longwave {
namespace {

// The batcher's control in the model's words.
class ForwardingControl final : public RunControl {
 public:
  explicit ForwardingControl(BatchControl* control) : control_(control) {}
  bool Continue() override { return control_->Continue(); }
  bool crowded() const override { return control_->crowded(); }

 private:
  BatchControl* const control_;
};

}  // namespace

std::vector<absl::Status> ModelExecutor::Run(absl::Span<WorkItem* const> items,
                                             BatchControl* control) {
  std::vector<RunItem> batch;
  batch.reserve(items.size());
  for (const WorkItem* item : items) {
    batch.push_back(static_cast<const InferenceItem*>(item)->run_item());
  }
  ForwardingControl forwarding(control);
  RunOptions options;
  if (control != nullptr) options = {&forwarding, /*background=*/true};
  std::vector<RunResult> results = model_->Run(batch, options);
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
