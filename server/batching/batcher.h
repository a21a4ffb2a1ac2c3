#ifndef LONGWAVE_SERVER_BATCHING_BATCHER_H_
#define LONGWAVE_SERVER_BATCHING_BATCHER_H_

#include <atomic>
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
#include "server/batching/batching_options.h"
#include "server/batching/clock.h"
#include "server/batching/executor.h"
#include "server/batching/scheduler.h"
#include "server/batching/work_item.h"

namespace longwave {

// Queues work for the executors of one model and hands it over in packed batches. The rules are
// those of Scheduler; this gives it threads: one for each worker, two where the executor can
// compute both lanes at once, and one that delivers results while the workers go on computing.
//
// A worker's thread takes a batch whenever it is free and something waits. So a lone item starts at
// once, and under load batches form by themselves while the executor is busy; there is no delay to
// tune. Thread-safe.
class Batcher {
 public:
  using Options = BatchingOptions;

  // `workers` (at least one), `clock` and `observer` are not owned and must outlive the batcher.
  // INVALID_ARGUMENT for bad options.
  static absl::StatusOr<std::unique_ptr<Batcher>> Create(const Options& options,
                                                         std::vector<Worker> workers,
                                                         const Clock* clock,
                                                         BatchObserver* observer);

  // Ends what still waits with UNAVAILABLE, then blocks until the batches that are being computed
  // are done.
  ~Batcher();

  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  // Queues a request's items, all or none. Never blocks for work. Returns the group's name for
  // Cancel(). On OK `group` is moved from and each item's Done() will be called, possibly before
  // this returns; otherwise `group` is untouched:
  //   OUT_OF_RANGE        more tokens, items or bytes than the queue can ever hold
  //   RESOURCE_EXHAUSTED  the queue is full, and RetryDelay() says when there may be room; or the
  //                       work before it would take longer than its deadline allows, which waiting
  //                       cannot mend, so there is no RetryDelay()
  //   DEADLINE_EXCEEDED   the deadline has passed, or is too short for the group alone
  //   UNAVAILABLE         the batcher is draining
  absl::StatusOr<GroupId> Schedule(WorkGroup&& group);

  // Ends what still waits of the group with CANCELLED, before returning. What is being computed
  // ends with CANCELLED, too: as soon as its batch is done, or, if nobody waits for the rest of the
  // batch, at its next checkpoint. No effect on a group that is done or unknown.
  void Cancel(GroupId id);

  // Stops admitting, then blocks until everything admitted is done or the clock reaches `deadline`.
  // Then what still waits ends with UNAVAILABLE, and the result is DEADLINE_EXCEEDED, saying how
  // much was dropped and whether a batch is still being computed. May be called again.
  absl::Status Drain(absl::Time deadline);

 private:
  class GapControl;

  // What others on the devices want to know.
  struct News {
    bool memory = false;  // some was given back
    bool gates = false;   // some have opened
  };

  Batcher(const Options& options, std::vector<Worker> workers, const Clock* clock,
          BatchObserver* observer);

  bool IsIdle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return scheduler_.idle() && undelivered_.empty() && delivering_ == 0;
  }

  void WorkerLoop(int worker, Lanes lanes);
  // Returns when there may be short work for the worker, or at `until`. Does not sleep.
  void LookForWork(int worker, absl::Time until) const;
  void DeliveryLoop();
  // Computes a batch and sees to its endings.
  void RunBatch(const Batch& batch);
  // Decides where endings are delivered: when this thread has more to compute they are taken over
  // by the delivery thread, otherwise they are left for DeliverHere().
  void Route(std::vector<Ending>& endings, bool busy) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void DeliverHere(std::vector<Ending> endings);
  // To be called before unlocking after the scheduler has done something. What it returns is for
  // Tell().
  News Publish() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tells others on the devices that they may go on. Without the lock.
  void Tell(const News& news);

  const std::vector<Worker> workers_;
  const Clock* const clock_;
  const absl::Duration spin_time_;

  absl::Mutex mutex_;
  Scheduler scheduler_ ABSL_GUARDED_BY(mutex_);
  std::vector<Ending> undelivered_ ABSL_GUARDED_BY(mutex_);
  int delivering_ ABSL_GUARDED_BY(mutex_) = 0;  // threads that hold endings
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;

  const std::vector<LaneGate*> gates_;  // by worker

  // What is looked at without the lock.
  std::vector<std::atomic<bool>> short_works_;  // by worker
  std::atomic<uint64_t> cancels_{0};
  std::atomic<bool> stopping_{false};

  std::vector<int> memory_listeners_, gate_listeners_;  // by worker
  std::vector<std::thread> threads_;                    // last: they use everything above
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_BATCHER_H_
