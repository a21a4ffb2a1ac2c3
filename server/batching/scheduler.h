#ifndef LONGWAVE_SERVER_BATCHING_SCHEDULER_H_
#define LONGWAVE_SERVER_BATCHING_SCHEDULER_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/batching/batch_observer.h"
#include "server/batching/batching_options.h"
#include "server/batching/executor.h"
#include "server/batching/fair_queue.h"
#include "server/batching/lane_gate.h"
#include "server/batching/load_meter.h"
#include "server/batching/memory_budget.h"
#include "server/batching/work_item.h"

namespace longwave {

// Names an admitted group. 0 is never used.
using GroupId = uint64_t;

// Names a batch that is being computed. 0 is never used.
using BatchId = uint64_t;

// An executor, and what it shares with the others on its device. Not owned.
struct Worker {
  Executor* executor = nullptr;
  MemoryBudget* memory = nullptr;
  LaneGate* gate = nullptr;  // null: the lanes of this worker mind nobody else's
};

// Which lanes a thread serves.
enum class Lanes { kShort, kLong, kBoth };

// A batch to be computed. The scheduler owns the items.
struct Batch {
  BatchId id = 0;
  int worker = 0;
  Lane lane = Lane::kShort;
  std::vector<WorkItem*> items;
};

// Every rule of the queue, and no thread: what is let in, what is computed next and together, what
// is dropped, what is tried again. Time comes in as an argument, computing happens outside between
// Start() and Finish(). So every schedule can be played by a test. The rules are described in
// docs/architecture.md.
//
// Items that end are appended to `endings`; each item of an admitted group ends there exactly once.
// Thread-compatible. The time given must never go backwards.
class Scheduler {
 public:
  // `options` must be valid. There is at least one worker; all compute the same. `workers` and
  // `observer` must outlive this.
  Scheduler(const BatchingOptions& options, std::vector<Worker> workers, BatchObserver* observer);
  // Everything must have ended.
  ~Scheduler();

  // Queues a group, all or nothing; on an error `group` is untouched. The errors are those of
  // Batcher::Schedule().
  absl::StatusOr<GroupId> Admit(WorkGroup& group, absl::Time now, std::vector<Ending>& endings);

  // Ends what waits of a group. What is being computed will end as cancelled.
  void Cancel(GroupId id, absl::Time now, std::vector<Ending>& endings);

  // Lets nothing in any more.
  void StopAdmitting() { admitting_ = false; }

  // Ends everything that waits with UNAVAILABLE.
  void DropWaiting(absl::Time now, std::vector<Ending>& endings);

  // Whether Start() may have something for this worker: work waits, and since memory was last found
  // short something has changed.
  bool CanStart(int worker, Lanes lanes) const;

  // The next batch for a worker; none when nothing may start now. `within`: the batch in whose gap
  // it is to be computed, or 0.
  std::optional<Batch> Start(int worker, Lanes lanes, BatchId within, absl::Time now,
                             std::vector<Ending>& endings);

  // The batch is over: as many statuses as it has items, in their order, or else `failure` as a
  // whole. Nothing happens where the batch is not running: it ended before, or never began.
  void Finish(BatchId id, const std::vector<absl::Status>& statuses, const absl::Status& failure,
              absl::Time now, std::vector<Ending>& endings);

  // Whether anybody waits for a batch.
  bool IsWanted(BatchId id, absl::Time now) const { return WantedUntil(id) > now; }

  // When the last deadline of those who wait for a batch passes, as things are now.
  absl::Time WantedUntil(BatchId id) const;

  // Whether a long batch, at a checkpoint, is to let a short one go first, which then is to be
  // started within it. Never where the device computes both lanes at once.
  bool ShouldYield(BatchId id, absl::Time now) const;

  // Whether a long batch, at a checkpoint, is to add nothing to the device's work until
  // MayResume(), for short work that others see to.
  bool ShouldPause(BatchId id, absl::Time now) const;

  // Whether a long batch that paused is to go on: the gate is open, or nobody waits for it, or it
  // is to yield.
  bool MayResume(BatchId id, absl::Time now) const;

  // Notes that the batch begins or ends to pause.
  void OnPause(BatchId id, absl::Time now);
  void OnResume(BatchId id, absl::Time now);

  // Tells that memory may have become available.
  void OnMemoryChange() { std::fill(blocked_.begin(), blocked_.end(), Flags()); }

  // Whether memory was given back since the last call that somebody may wait for, so that others
  // want to know.
  bool TakeMemoryReleased() { return std::exchange(memory_released_, false); }

  // Whether a gate has been opened since the last call, so that others want to know.
  bool TakeGatesOpened() { return std::exchange(gates_opened_, false); }

  // By worker, constant.
  const std::vector<LaneGate*>& gates() const { return gates_; }

  bool has_waiting() const { return waiting_.items > 0; }
  // Whether a worker has short work, running or ready to start.
  bool HasShortWork(int worker) const {
    return HasBatch(worker, Lane::kShort) || CanStart(worker, Lanes::kShort);
  }
  bool idle() const { return waiting_.items == 0 && running_.empty(); }
  int64_t queue_tokens() const { return waiting_.tokens; }
  int64_t queue_items() const { return waiting_.items; }

 private:
  struct Group;
  struct QueueSize {
    int64_t tokens = 0, items = 0, bytes = 0;
  };

  enum class State { kQueued, kRetrying, kRunning, kEnded };
  struct Item {
    std::unique_ptr<WorkItem> work;
    Group* group = nullptr;
    int64_t tokens = 0;
    int64_t bytes = 0;
    double cost = 0;
    Lane lane = Lane::kShort;
    State state = State::kQueued;
    bool alone = false;  // is to have all of the memory
    absl::Duration waited;
    FairQueue::Entry entry;
    std::list<std::vector<Item*>>::iterator retry;  // where it is while kRetrying
  };
  using Deadlines = std::multimap<absl::Time, Group*>;
  struct Group {
    GroupId id = 0;
    absl::Time deadline;
    absl::Time queued_at;
    std::vector<Item> items;  // never resized
    size_t live = 0;          // items that have not ended
    bool cancelled = false;
    std::optional<Deadlines::iterator> expiry;  // until its deadline has passed
  };
  struct Running {
    int worker = 0;
    Lane lane = Lane::kShort;
    BatchId within = 0;
    std::vector<Item*> items;
    BatchSize size;
    double cost = 0;
    int64_t memory = 0;  // reserved
    absl::Time start;
    absl::Duration paused;               // in gaps
    std::optional<absl::Time> gap_from;  // makes way for a short batch
    absl::Duration predicted;            // zero when nothing is known yet
  };
  struct Flags {
    std::array<bool, kLaneCount> lane{};
  };

  // Admission.
  absl::Status CheckAdmission(const WorkGroup& group, absl::Time now, Refusal& reason);
  absl::Status CheckRoom(const WorkGroup& group, const QueueSize& size) const;
  absl::Status CheckDeadline(const WorkGroup& group, absl::Time now);
  absl::Duration LaneTime(Lane lane, const WorkGroup& group, double cost, absl::Time now) const;
  Lane LaneOf(int64_t tokens, double cost) const;
  // Memory that an item may need at most to be run by any worker; 0: no limit.
  int64_t SmallestMemory() const;

  // Batches.
  bool LaneHasWork(Lane lane) const {
    return !queues_[Index(lane)].empty() || !retries_[Index(lane)].empty();
  }
  bool HasBatch(int worker, Lane lane) const;
  // Tells the gates what the workers do. To be called at the end of all that changes it.
  void ReportToGates(absl::Time now);
  std::optional<Batch> StartNext(int worker, Lanes lanes, BatchId within, absl::Time now,
                                 std::vector<Ending>& endings);
  // Fill in what a batch of the lane consists of; false when nothing can start.
  bool FormNew(Running& batch, absl::Time now, std::vector<Ending>& endings);
  bool FormRetry(Running& batch, absl::Time now);
  void Add(Running& batch, Item& item, absl::Time now);
  // Reserves what a batch needs. If there is too little, the lane is blocked for the worker.
  bool Reserve(Running& batch, int64_t bytes);
  int64_t Estimate(int worker, const BatchSize& size) const;
  void WithdrawClaims(Lane lane);
  // Computes items again that their batch has failed, in smaller batches; or ends the only one.
  void RetryOrEnd(const Running& batch, std::vector<Item*> items, const absl::Status& failure,
                  bool had_all_memory, absl::Duration compute, std::vector<Ending>& endings);
  void QueueRetry(std::vector<Item*> items);

  // Ends.
  void Expire(absl::Time now, std::vector<Ending>& endings);
  void EndWaiting(Group& group, const absl::Status& status, Drop reason, absl::Time now,
                  std::vector<Ending>& endings);
  void EndWaiting(Item& item, const absl::Status& status, Drop reason, absl::Time now,
                  std::vector<Ending>& endings);
  void End(Item& item, const absl::Status& status, absl::Duration compute,
           std::vector<Ending>& endings);
  // Why nobody waits for an item any more; OK when somebody does.
  static absl::Status Unwanted(const Item& item, absl::Time now);

  // An item begins or ends to wait. The second also notes how long it did.
  void CountIn(const Item& item);
  void CountOut(Item& item, absl::Time now);

  static constexpr size_t Index(Lane lane) { return static_cast<size_t>(lane); }

  const BatchingOptions options_;
  const std::vector<Worker> workers_;
  BatchObserver* const observer_;

  bool admitting_ = true;
  bool memory_released_ = false;
  GroupId last_group_ = 0;
  BatchId last_batch_ = 0;
  absl::flat_hash_map<GroupId, std::unique_ptr<Group>> groups_;
  Deadlines deadlines_;  // of groups whose deadline has not passed
  std::array<FairQueue, kLaneCount> queues_;
  std::array<std::list<std::vector<Item*>>, kLaneCount> retries_;  // batches that go first
  std::map<BatchId, Running> running_;
  QueueSize waiting_;                                           // queues and retries
  absl::flat_hash_map<uint64_t, QueueSize> waiting_by_client_;  // none is empty
  LoadMeter meter_;
  double memory_factor_ = 1;    // on estimates, after the device ran out of memory
  std::vector<Flags> blocked_;  // by worker: memory was short when last asked for
  std::vector<Flags> claims_;   // by worker: waits for memory; each is its own claimant

  // By worker.
  std::deque<LaneGate> own_gates_;  // of workers that came without one
  std::vector<LaneGate*> gates_;
  std::vector<int> members_;
  std::vector<LaneGate::State> reported_;
  absl::Time last_report_ = absl::InfinitePast();
  bool gates_opened_ = false;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_SCHEDULER_H_
