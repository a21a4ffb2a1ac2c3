#ifndef LONGWAVE_MODEL_DEVICE_TORCH_GUARD_H_
#define LONGWAVE_MODEL_DEVICE_TORCH_GUARD_H_

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"

namespace longwave {

// Calls `body` and turns what LibTorch throws into a status: RESOURCE_EXHAUSTED when memory ran
// out, INTERNAL for everything else. The message is the exception's without its backtrace.
absl::Status GuardTorch(absl::FunctionRef<absl::Status()> body);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_DEVICE_TORCH_GUARD_H_
