#ifndef LONGWAVE_TESTS_SERVER_BATCHING_PUPPET_H_
#define LONGWAVE_TESTS_SERVER_BATCHING_PUPPET_H_

#include <cstdint>
#include <functional>
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
struct Ending {
  absl::Status status;
  ItemTiming timing;
  int times = 0;  // how often Done() was called
};

// Collects the endings of items by name. Thread-safe.
class Endings {
 public:
  void Add(const std::string& name, const absl::Status& status, const ItemTiming& timing);

  // Blocks until the item has ended.
  Ending Await(const std::string& name);

  bool HasEnded(const std::string& name) const;
  size_t count() const;

  // The highest number of times that one item's Done() was called.
  int most_times() const;

 private:
  mutable absl::Mutex mutex_;
  std::map<std::string, Ending> endings_ ABSL_GUARDED_BY(mutex_);
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

  std::vector<absl::Status> Run(absl::Span<WorkItem* const> items) override;

  // Blocks until a batch is being computed; returns the names of its items.
  std::vector<std::string> AwaitBatch();

  // Ends the batch that is being computed: well, or as `outcome` says (which may throw).
  void EndBatch();
  void EndBatchWith(Outcome outcome);

  // How many batches have begun.
  int batches() const;

 private:
  mutable absl::Mutex mutex_;
  std::optional<std::vector<std::string>> running_ ABSL_GUARDED_BY(mutex_);
  std::optional<Outcome> outcome_ ABSL_GUARDED_BY(mutex_);
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
  };

  void OnQueueChange(int64_t tokens, int64_t items) override;
  void OnItemDequeued(absl::Duration waited) override;
  void OnBatchDone(int64_t items, int64_t tokens, absl::Duration compute) override;

  Sums sums() const;

 private:
  mutable absl::Mutex mutex_;
  Sums sums_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SERVER_BATCHING_PUPPET_H_
