#ifndef LONGWAVE_SERVER_BATCHING_EXECUTOR_H_
#define LONGWAVE_SERVER_BATCHING_EXECUTOR_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/batching/work_item.h"

namespace longwave {

// Steers a batch that is being computed.
class BatchControl {
 public:
  virtual ~BatchControl() = default;

  // To be called between chunks of the computation, on the thread that called Executor::Run. May
  // call Run again before it returns, for a batch that goes first. False: nobody waits for the
  // batch any more.
  virtual bool Continue() = 0;

  // Whether short work uses the device, too, or waits for it: then a batch is to queue nothing
  // ahead of what the device computes. Never blocks.
  virtual bool crowded() const = 0;
};

// What the cost of a batch depends on.
struct BatchSize {
  int64_t items = 0;
  int64_t tokens = 0;
  int64_t longest = 0;  // tokens of the longest item

  BatchSize With(int64_t item_tokens) const {
    return {items + 1, tokens + item_tokens, longest > item_tokens ? longest : item_tokens};
  }
};

// Computes batches on one device.
class Executor {
 public:
  virtual ~Executor() = default;

  // Bytes of the device that a batch needs at its peak. Monotonic in every argument. Thread-safe,
  // never blocks.
  virtual int64_t EstimateMemory(const BatchSize& size) const = 0;

  // Time of an item within a large batch; only ratios matter. Above 0. Thread-safe, never blocks.
  virtual double PredictMilliseconds(int64_t tokens) const = 0;

  // Whether Run may be called by two threads at once, for a batch of each lane, the short one
  // having the device's preference. If not, short batches run in the gaps that Continue() makes.
  virtual bool shares_device() const = 0;

  // Computes `items` (at least one) as one packed batch, puts each result into its item and returns
  // one status per item, in order. Blocks for the whole computation. RESOURCE_EXHAUSTED: the device
  // had no memory for the item in this batch, and has as much as before; the item is computed again
  // in a smaller batch. So are all items after an exception or a wrong number of statuses, until
  // the one that fails is alone. `control` is null for a batch of the short lane. After Continue()
  // returned false the statuses do not matter.
  virtual std::vector<absl::Status> Run(absl::Span<WorkItem* const> items,
                                        BatchControl* control) = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_EXECUTOR_H_
