#ifndef LONGWAVE_SERVER_RPC_INFERENCE_ITEM_H_
#define LONGWAVE_SERVER_RPC_INFERENCE_ITEM_H_

#include <cstdint>
#include <memory>
#include <utility>

#include "model/runtime/model.h"
#include "server/batching/work_item.h"
#include "server/rpc/cache_slot.h"

namespace longwave {

// What became of one input of a request.
struct ItemOutcome {
  RunResult result;            // its status is the input's; its values are empty unless that is OK
  int64_t tokens = 0;          // that went, or would have gone, through the model
  int64_t tokens_dropped = 0;  // by truncation
  ItemTiming timing;
};

// Receives the outcomes of a request's items, each exactly once, on any thread, several at once.
// Must not block or throw.
class ItemSink {
 public:
  virtual ~ItemSink() = default;
  virtual void OnItemDone(int index, ItemOutcome outcome) = 0;
};

// The work item of ModelExecutor: a token sequence, what is wanted of it, and who waits for it.
class InferenceItem final : public WorkItem {
 public:
  // `options` says what to compute; its tokens are ignored. `index` is the input's position in its
  // request. The result is kept in `slot`.
  InferenceItem(std::shared_ptr<ItemSink> sink, int index, TokenSequence sequence,
                const RunItem& options, const CacheSlot& slot)
      : sink_(std::move(sink)),
        index_(index),
        sequence_(std::move(sequence)),
        options_(options),
        slot_(slot) {
    options_.tokens = sequence_.ids;
  }

  // For Model::Run; points into this item.
  const RunItem& run_item() const { return options_; }

  void set_result(RunResult result) { result_ = std::move(result); }

  // WorkItem:
  int64_t tokens() const override { return static_cast<int64_t>(sequence_.ids.size()); }

  void Done(const absl::Status& status, const ItemTiming& timing) override {
    result_.status = status;
    slot_.Keep(result_);
    sink_->OnItemDone(index_, {std::move(result_), tokens(), sequence_.tokens_dropped, timing});
  }

 private:
  const std::shared_ptr<ItemSink> sink_;
  const int index_;
  const TokenSequence sequence_;
  RunItem options_;
  CacheSlot slot_;
  RunResult result_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_INFERENCE_ITEM_H_
