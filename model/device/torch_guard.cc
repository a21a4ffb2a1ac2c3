#include "model/device/torch_guard.h"

#include <c10/util/Exception.h>

#include <exception>
#include <new>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace longwave {

absl::Status GuardTorch(absl::FunctionRef<absl::Status()> body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("not enough memory");
  } catch (const c10::OutOfMemoryError& error) {
    return absl::ResourceExhaustedError(error.what_without_backtrace());
  } catch (const c10::Error& error) {
    const char* message = error.what_without_backtrace();
    // The CPU allocator has no exception class of its own.
    if (absl::StrContains(message, "DefaultCPUAllocator")) {
      return absl::ResourceExhaustedError(message);
    }
    return absl::InternalError(message);
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

}  // namespace longwave
