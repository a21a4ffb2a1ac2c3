#ifndef LONGWAVE_SERVER_BATCHING_BATCHING_OPTIONS_H_
#define LONGWAVE_SERVER_BATCHING_BATCHING_OPTIONS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace longwave {

struct BatchingOptions {
  // A batch is closed by whichever comes first. Each at least 1. An item beyond the tokens or the
  // time runs alone.
  int64_t max_batch_tokens = 16384;
  int64_t max_batch_items = 1024;
  absl::Duration max_batch_time = absl::Milliseconds(50);  // as predicted

  // What may wait; beyond, groups are refused. Each at least 1.
  int64_t max_queue_tokens = 4 << 20;
  int64_t max_queue_items = 64 << 10;
  int64_t max_queue_bytes = int64_t{256} << 20;

  // Items of more tokens, or of more predicted time, use the long lane. At least 1; infinite: no
  // bound.
  int64_t long_item_tokens = 4096;
  absl::Duration long_item_time = absl::InfiniteDuration();

  // Part of a device's time that the long lane has while both lanes have work. Above 0, below 1.
  double long_lane_share = 0.2;

  // How long a worker of an executor that shares its device looks for short work before it sleeps,
  // if it last was needed again within that time. To wake a thread, and a core that sleeps, can
  // take a tenth of a millisecond: more than all else that the server adds to a short batch. 0: it
  // sleeps at once.
  absl::Duration spin_time = absl::Milliseconds(1);

  // A group is refused when its predicted time times this does not fit before its deadline. 0: no
  // group is refused for its deadline, unless that has passed. Otherwise at least 1.
  double deadline_margin = 1.2;

  // INVALID_ARGUMENT naming the option, what was found and what was expected.
  absl::Status Validate() const;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_BATCHING_BATCHING_OPTIONS_H_
