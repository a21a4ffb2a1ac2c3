#ifndef LONGWAVE_MODEL_ATTENTION_CHECKPOINT_H_
#define LONGWAVE_MODEL_ATTENTION_CHECKPOINT_H_

#include <functional>

// Where long work on the CPU lets its caller in. The operators go through a dispatcher that carries
// tensors and numbers only, so the hook is a property of the calling thread, as LibTorch's modes
// are.
namespace longwave::attention {

// Calls this thread's hook, if there is one. Algorithms call it between pieces of their work,
// outside of at::parallel_for. Throws what the hook throws.
void Checkpoint();

// Whether this thread has a hook, so that work has to be done in pieces.
bool HasCheckpoint();

// Sets this thread's hook, or none, for the scope's life; the one before comes back after it. While
// a hook runs there is none, so what it computes is not interrupted itself.
class CheckpointScope {
 public:
  explicit CheckpointScope(std::function<void()> hook);
  ~CheckpointScope();

  CheckpointScope(const CheckpointScope&) = delete;
  CheckpointScope& operator=(const CheckpointScope&) = delete;

 private:
  std::function<void()> outer_;
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_CHECKPOINT_H_
