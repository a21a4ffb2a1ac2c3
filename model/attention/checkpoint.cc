#include "model/attention/checkpoint.h"

#include <utility>

namespace longwave::attention {
namespace {

thread_local std::function<void()> current_hook;

}  // namespace

bool HasCheckpoint() { return current_hook != nullptr; }

void Checkpoint() {
  if (current_hook == nullptr) return;
  const std::function<void()> hook = current_hook;
  const CheckpointScope none(nullptr);
  hook();
}

CheckpointScope::CheckpointScope(std::function<void()> hook)
    : outer_(std::exchange(current_hook, std::move(hook))) {}

CheckpointScope::~CheckpointScope() { current_hook = std::move(outer_); }

}  // namespace longwave::attention
