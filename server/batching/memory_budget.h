#ifndef LONGWAVE_SERVER_BATCHING_MEMORY_BUDGET_H_
#define LONGWAVE_SERVER_BATCHING_MEMORY_BUDGET_H_

#include <cstdint>
#include <functional>
#include <list>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/batching/batch_observer.h"
#include "server/batching/listeners.h"

namespace longwave {

// Memory of one device that all who compute on it share. Thread-safe, never blocks.
//
// Who finds too little waits for it with a claim. Others may still take what is left, but only so
// many times (max_bypass): then the oldest such claim comes first, so that no batch starves however
// large it is. Short work minds a claim only if the claim would fit without short work: where it
// lacks what long work holds, to wait would free nothing.
class MemoryBudget {
 public:
  static constexpr int kMaxBypass = 16;

  // total: bytes; 0: no limit. max_bypass: reservations that may overtake a waiting claim.
  // on_change: is told how much is reserved whenever that changes; must not block or call this.
  explicit MemoryBudget(
      int64_t total, int max_bypass = kMaxBypass,
      std::function<void(int64_t)> on_change = [](int64_t) {})
      : total_(total), max_bypass_(max_bypass), on_change_(std::move(on_change)) {}

  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // Takes `bytes`, at most total(); the claimant's waiting claim, if it has one, is served. False
  // if there are not so many: then the claimant waits with this claim, in its old place, until it
  // reserves or withdraws.
  bool Reserve(const void* claimant, int64_t bytes, Lane lane);

  // Takes more for a batch that the claimant has just reserved for, without counting as one that
  // overtakes. False if there is too little; no claim is made.
  bool Extend(const void* claimant, int64_t bytes, Lane lane);

  // Gives up a claim; true if there was one. Somebody else may find more available afterwards.
  bool Withdraw(const void* claimant);

  // Gives bytes of a lane back; true if somebody waits with a claim, who may find more now.
  bool Release(int64_t bytes, Lane lane);

  // Told by others when there may be more available, after Release() or Withdraw().
  Listeners& listeners() { return listeners_; }

  int64_t total() const { return total_; }
  int64_t reserved() const;

 private:
  struct Claim {
    const void* claimant;
    int64_t bytes;
    int bypassed = 0;
  };

  void Add(int64_t bytes, Lane lane) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Whether work of a lane is to mind a claim.
  bool Minds(Lane lane, const Claim& claim) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  int64_t AvailableTo(const void* claimant, Lane lane) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const int64_t total_;
  const int max_bypass_;
  const std::function<void(int64_t)> on_change_;

  mutable absl::Mutex mutex_;
  int64_t reserved_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t reserved_long_ ABSL_GUARDED_BY(mutex_) = 0;  // of it, by the long lane
  std::list<Claim> claims_ ABSL_GUARDED_BY(mutex_);  // oldest first

  Listeners listeners_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_MEMORY_BUDGET_H_
