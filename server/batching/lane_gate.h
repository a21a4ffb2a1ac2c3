#ifndef LONGWAVE_SERVER_BATCHING_LANE_GATE_H_
#define LONGWAVE_SERVER_BATCHING_LANE_GATE_H_

#include <atomic>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/batching/batching_options.h"
#include "server/batching/listeners.h"

namespace longwave {

// Keeps the long batches of a device behind the short ones, whatever models they are of: at its
// checkpoints a long batch goes on when it may, and otherwise makes way.
//
// It may while nobody has short work. While somebody has, the long lane is owed its share of the
// device's time (long_lane_share): each short batch earns it some, and the time that long batches
// go on uses it up. So neither lane starves the other. On a device that computes both lanes at once
// the chunks of a long batch are long beside what a short one earns it, and what a chunk takes too
// much becomes a debt. Time that the long lane has for itself costs it nothing.
//
// Members are the workers, of any scheduler, that compute on the device. Thread-safe, never blocks.
class LaneGate {
 public:
  // What a member does.
  struct State {
    bool short_work = false;  // it computes a short batch, or could start one
    bool long_work = false;   // it computes a long batch, or some wait
    int going = 0;            // long batches that it computes and that do not make way
    int stopped = 0;          // that make way

    bool operator==(const State& other) const {
      return short_work == other.short_work && long_work == other.long_work &&
             going == other.going && stopped == other.stopped;
    }
    bool operator!=(const State& other) const { return !(*this == other); }
  };

  // shares_device: it computes both lanes at once (Executor).
  LaneGate(const BatchingOptions& options, bool shares_device);

  LaneGate(const LaneGate&) = delete;
  LaneGate& operator=(const LaneGate&) = delete;

  // A new member, which does nothing yet. Returns its name.
  int Join();
  void Leave(int member, absl::Time now);

  // Says what a member does from now on. True when batches that make way may go on now, so that
  // listeners want to know. A time before that of an earlier call counts as that time, here and
  // below.
  bool Update(int member, const State& state, absl::Time now);

  // A short batch is done that took `compute`. As Update().
  bool OnShortDone(absl::Duration compute, absl::Time now);

  // Whether a long batch may go on.
  bool MayGoOn(absl::Time now);

  // Whether the long lane's turn comes before short work that waits.
  bool IsLongOwed(absl::Time now);

  // Whether somebody has short work, or long. No lock.
  bool crowded() const { return shorts_ > 0; }
  bool has_long() const { return longs_ > 0; }

  // Told by whoever was told by Update() or OnShortDone() to, without a lock that a listener takes.
  Listeners& listeners() { return listeners_; }

 private:
  void Advance(absl::Time now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool IsOpen() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return shorts_ == 0 || owed_ > absl::ZeroDuration();
  }

  const double earned_;  // by the long lane, for each time unit of the short one
  const absl::Duration most_owed_;
  const absl::Duration most_debt_;

  absl::Mutex mutex_;
  std::map<int, State> members_ ABSL_GUARDED_BY(mutex_);
  int last_member_ ABSL_GUARDED_BY(mutex_) = 0;
  int going_ ABSL_GUARDED_BY(mutex_) = 0;
  int stopped_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Duration owed_ ABSL_GUARDED_BY(mutex_);  // to the long lane; below zero: its debt
  absl::Time last_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();  // owed_ is as it was then

  // Members with such work. Written with the lock.
  std::atomic<int> shorts_{0};
  std::atomic<int> longs_{0};

  Listeners listeners_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_LANE_GATE_H_
