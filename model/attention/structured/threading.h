#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_THREADING_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_THREADING_H_

#include <cstdint>
#include <functional>

namespace longwave::attention {

// Whether the passes over a head's chunks share LibTorch's threads, or the caller is one of several
// threads with a head each.
enum class Threading { kSerial, kParallel };

// What a thread does between two checkpoints, in chunks: a fraction of a model's pass over 512
// tokens.
inline constexpr int64_t kStepPerThread = 64;

// Calls body(begin, end) for ranges of at least `grain` that cover [0, count). kParallel: on the
// threads of at::parallel_for, with a checkpoint whenever each thread has done `step` of them (or
// `grain`, if that is more) where the caller wants to be let in.
void For(Threading threading, int64_t count, int64_t grain,
         const std::function<void(int64_t, int64_t)>& body, int64_t step = kStepPerThread);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_THREADING_H_
