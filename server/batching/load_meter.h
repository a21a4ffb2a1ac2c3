#ifndef LONGWAVE_SERVER_BATCHING_LOAD_METER_H_
#define LONGWAVE_SERVER_BATCHING_LOAD_METER_H_

#include <cstdint>

#include "absl/time/time.h"

namespace longwave {

// Learns from the batches that were computed how predicted cost turns into time, and how fast
// tokens are worked off. A batch takes an overhead and a time in proportion to its cost; both are
// fitted by least squares over the latest batches. Thread-compatible.
class LoadMeter {
 public:
  // cost: the sum of what Executor::PredictMilliseconds said of the items.
  void OnBatch(double cost, int64_t tokens, absl::Duration compute);

  // Something was refused for its LeastTime() while nothing was computed or waited. If the
  // prediction is wrong, no batch will correct it, so LeastTime() gets shorter until one does.
  void OnRefusal() { doubt_ *= 0.9; }

  // Whether there has been a batch yet. The rest holds only then.
  bool known() const { return weight_ > 0; }

  // Of one batch. Costs beyond the batches that were seen are extrapolated.
  absl::Duration BatchTime(double cost) const;

  // BatchTime(), or less after OnRefusal(): what a deadline must leave not to be hopeless.
  absl::Duration LeastTime(double cost) const;

  // Of work that is done in several batches of at most `batch_time` each.
  absl::Duration WorkTime(double cost, absl::Duration batch_time) const;

  // Tokens a second of one executor that is never idle.
  double TokensPerSecond() const;

 private:
  struct Line {
    double overhead_ms;
    double slope;
  };
  Line Fit() const;

  // Exponentially weighted sums over the batches: of 1, x, y, x^2, x y, tokens; x is the cost, y
  // the milliseconds.
  double weight_ = 0, x_ = 0, y_ = 0, xx_ = 0, xy_ = 0, tokens_ = 0;
  double doubt_ = 1;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_LOAD_METER_H_
