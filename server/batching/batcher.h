#ifndef LONGWAVE_SERVER_BATCHING_BATCHER_H_
#define LONGWAVE_SERVER_BATCHING_BATCHER_H_

#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/batching/batch_observer.h"
#include "server/batching/clock.h"
#include "server/batching/executor.h"
#include "server/batching/work_item.h"
#include "server/batching/work_queue.h"

namespace longwave {

// Queues work for one executor and hands it over in batches that are closed by a token budget.
// Batches are packed: unequal lengths share one without padding.
//
// A thread of its own takes a batch whenever the executor is free and something waits. So a lone
// item starts at once, and under load batches form by themselves while the executor is busy; there
// is no delay to tune.
//
// Work that was cancelled or is past its deadline leaves the queue before it costs compute.
// Thread-safe.
class Batcher {
 public:
  struct Options {
    // Tokens of one batch. An item that is longer runs alone. At least 1.
    int64_t max_batch_tokens = 16384;

    // Items of one batch. At least 1.
    int64_t max_batch_items = 1024;

    // Tokens that may wait. At least 1.
    int64_t max_queue_tokens = 4 << 20;

    // Items that may wait; bounds the memory that many tiny items would take. At least 1.
    int64_t max_queue_items = 64 << 10;

    // INVALID_ARGUMENT naming the option, what was found and what was expected.
    absl::Status Validate() const;
  };

  // `executor`, `clock` and `observer` are not owned and must outlive the batcher. INVALID_ARGUMENT
  // for bad options.
  static absl::StatusOr<std::unique_ptr<Batcher>> Create(const Options& options, Executor* executor,
                                                         const Clock* clock,
                                                         BatchObserver* observer);

  // Ends what still waits with UNAVAILABLE, then blocks until the batch that is being computed is
  // done.
  ~Batcher();

  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  // Queues a request's items, all or none. Never blocks for work. Returns the group's name for
  // Cancel(). On OK `group` is moved from and each item's Done() will be called, possibly before
  // this returns; otherwise `group` is untouched:
  //   OUT_OF_RANGE        more tokens or items than the queue can ever hold
  //   RESOURCE_EXHAUSTED  the queue is full now
  //   DEADLINE_EXCEEDED   the deadline has passed already
  //   UNAVAILABLE         the batcher is draining
  absl::StatusOr<GroupId> Schedule(WorkGroup&& group);

  // Ends what still waits of the group with CANCELLED, before returning. What is being computed
  // runs on. No effect on a group that is done or unknown.
  void Cancel(GroupId id);

  // Stops admitting, then blocks until everything admitted is done or the clock reaches `deadline`.
  // Then what still waits ends with UNAVAILABLE, and the result is DEADLINE_EXCEEDED, saying how
  // much was dropped and whether a batch is still being computed. May be called again.
  absl::Status Drain(absl::Time deadline);

 private:
  Batcher(const Options& options, Executor* executor, const Clock* clock, BatchObserver* observer);

  absl::Status CheckAdmission(const WorkGroup& group, absl::Time now)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool HasWorkOrStopped() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return stopped_ || !queue_.empty();
  }
  bool IsIdle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return !running_ && queue_.empty(); }

  void ThreadLoop();
  void RunBatch(std::vector<DequeuedItem> batch);
  // Tells the observer that `items` left the queue. Called with the lock, so that the observer's
  // sums never go negative.
  void ReportDequeued(const std::vector<DequeuedItem>& items) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  Executor* const executor_;
  const Clock* const clock_;
  BatchObserver* const observer_;

  absl::Mutex mutex_;
  WorkQueue queue_ ABSL_GUARDED_BY(mutex_);
  bool admitting_ ABSL_GUARDED_BY(mutex_) = true;
  bool running_ ABSL_GUARDED_BY(mutex_) = false;  // the thread has items that are not done
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;

  std::thread thread_;  // last: it uses everything above
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_BATCHER_H_
