#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_THREADING_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_THREADING_H_

#include <cstdint>
#include <functional>

namespace longwave::attention {

// Whether the passes over a head's chunks share LibTorch's threads, or the caller is one of several
// threads with a head each.
enum class Threading { kSerial, kParallel };

// Calls body(begin, end) for ranges of at least `grain` that cover [0, count). kParallel: on the
// threads of at::parallel_for, with a checkpoint after each step where the caller wants to be let
// in.
void For(Threading threading, int64_t count, int64_t grain,
         const std::function<void(int64_t, int64_t)>& body);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_THREADING_H_
