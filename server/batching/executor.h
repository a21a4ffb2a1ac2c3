#ifndef LONGWAVE_SERVER_BATCHING_EXECUTOR_H_
#define LONGWAVE_SERVER_BATCHING_EXECUTOR_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "server/batching/work_item.h"

namespace longwave {

// Computes batches. Called by one batcher's thread only, one batch at a time.
class Executor {
 public:
  virtual ~Executor() = default;

  // Computes `items` (at least one) as one packed batch, puts each result into its item and returns
  // one status per item, in order. Blocks for the whole computation. An exception, or a wrong
  // number of statuses, fails all items of the batch and nothing else.
  virtual std::vector<absl::Status> Run(absl::Span<WorkItem* const> items) = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_EXECUTOR_H_
