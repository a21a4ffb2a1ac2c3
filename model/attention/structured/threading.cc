#include "model/attention/structured/threading.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "model/attention/checkpoint.h"

namespace longwave::attention {
namespace {

// What a thread does between two checkpoints: a fraction of a model's pass over 512 tokens.
constexpr int64_t kStepPerThread = 64;

}  // namespace

void For(Threading threading, int64_t count, int64_t grain,
         const std::function<void(int64_t, int64_t)>& body) {
  if (threading == Threading::kSerial) {
    body(0, count);
    return;
  }
  const int64_t step =
      HasCheckpoint() ? std::max(grain, kStepPerThread) * at::get_num_threads() : count;
  for (int64_t begin = 0; begin < count; begin += step) {
    at::parallel_for(begin, std::min(begin + step, count), grain, body);
    Checkpoint();
  }
}

}  // namespace longwave::attention
