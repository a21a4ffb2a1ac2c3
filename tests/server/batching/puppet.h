#ifndef LONGWAVE_TESTS_SERVER_BATCHING_PUPPET_H_
#define LONGWAVE_TESTS_SERVER_BATCHING_PUPPET_H_

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/batching/batch_observer.h"
#include "server/batching/executor.h"
#include "server/batching/work_item.h"

namespace longwave {

// How an item ended.
struct Ended {
  absl::Status status;
  ItemTiming timing;
  int times = 0;  // how often Done() was called
};

// Collects the endings of items by name. Thread-safe.
class Endings {
 public:
  void Add(const std::string& name, const absl::Status& status, const ItemTiming& timing);

  // Blocks until the item has ended.
  Ended Await(const std::string& name);

  bool HasEnded(const std::string& name) const;
  size_t count() const;

  // The highest number of times that one item's Done() was called.
  int most_times() const;

 private:
  mutable absl::Mutex mutex_;
  std::map<std::string, Ended> endings_ ABSL_GUARDED_BY(mutex_);
};

// An item with a name.
class NamedItem final : public WorkItem {
 public:
  NamedItem(std::string name, int64_t tokens, Endings* endings)
      : name_(std::move(name)), tokens_(tokens), endings_(endings) {}

  const std::string& name() const { return name_; }
  int64_t tokens() const override { return tokens_; }
  void Done(const absl::Status& status, const ItemTiming& timing) override {
    endings_->Add(name_, status, timing);
  }

 private:
  const std::string name_;
  const int64_t tokens_;
  Endings* const endings_;
};

// An executor whose batches a test sees and ends, one by one. Thread-safe.
class PuppetExecutor final : public Executor {
 public:
  using Outcome = std::function<std::vector<absl::Status>(size_t items)>;

  explicit PuppetExecutor(bool shares_device = false) : shares_device_(shares_device) {}

  // A byte and a millisecond for each token.
  int64_t EstimateMemory(const BatchSize& size) const override { return size.tokens; }
  double PredictMilliseconds(int64_t tokens) const override { return static_cast<double>(tokens); }
  bool shares_device() const override { return shares_device_; }
  std::vector<absl::Status> Run(absl::Span<WorkItem* const> items, BatchControl* control) override;

  // Blocks until `depth` batches are being computed, in gaps of each other or at once; returns the
  // names of the newest one's items.
  std::vector<std::string> AwaitBatch(size_t depth = 1);

  // Lets the batch that is being computed reach a checkpoint; returns what Continue() said. Batches
  // that start meanwhile are to be awaited and ended by another thread. depth: which of the batches
  // that are being computed, counted from 1 for the oldest; 0: the newest. So below.
  bool ReachCheckpoint(size_t depth = 0);

  // Ends a batch: well, or as `outcome` says (which may throw).
  void EndBatch(size_t depth = 0);
  void EndBatchWith(Outcome outcome, size_t depth = 0);

  // How many batches have begun.
  int batches() const;

 private:
  struct Running {
    std::vector<std::string> names;
    std::optional<Outcome> outcome;
    bool at_checkpoint = false;
    std::optional<bool> continued;
  };

  Running& At(size_t depth) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const bool shares_device_;
  mutable absl::Mutex mutex_;
  std::list<Running> running_ ABSL_GUARDED_BY(mutex_);  // oldest first
  int batches_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Adds up what it sees. Thread-safe.
class SummingObserver final : public BatchObserver {
 public:
  struct Sums {
    int64_t queue_tokens = 0;
    int64_t queue_items = 0;
    int64_t lowest_queue_tokens = 0;
    int64_t dequeued = 0;
    absl::Duration waited;
    int64_t batches = 0;
    int64_t batch_items = 0;
    int64_t batch_tokens = 0;
    absl::Duration compute;
    std::array<int64_t, kLaneCount> lane_batches{};
    std::array<int64_t, kRefusalCount> refused{};
    std::array<int64_t, kDropCount> dropped{};
    int64_t splits = 0;
    int64_t wasted = 0;
    int64_t yields = 0;
  };

  void OnQueueChange(int64_t tokens, int64_t items) override;
  void OnRefused(Refusal reason) override;
  void OnItemDequeued(absl::Duration waited) override;
  void OnItemDropped(Drop reason) override;
  void OnBatchDone(int worker, Lane lane, int64_t items, int64_t tokens,
                   absl::Duration compute) override;
  void OnBatchSplit() override;
  void OnItemsWasted(int64_t items) override;
  void OnYield() override;

  Sums sums() const;

 private:
  mutable absl::Mutex mutex_;
  Sums sums_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SERVER_BATCHING_PUPPET_H_
