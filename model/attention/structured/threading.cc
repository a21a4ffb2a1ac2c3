#include "model/attention/structured/threading.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "model/attention/checkpoint.h"

namespace longwave::attention {

void For(Threading threading, int64_t count, int64_t grain,
         const std::function<void(int64_t, int64_t)>& body, int64_t step) {
  if (threading == Threading::kSerial) {
    body(0, count);
    return;
  }
  const int64_t between = HasCheckpoint() ? std::max(grain, step) * at::get_num_threads() : count;
  for (int64_t begin = 0; begin < count; begin += between) {
    at::parallel_for(begin, std::min(begin + between, count), grain, body);
    Checkpoint();
  }
}

}  // namespace longwave::attention
