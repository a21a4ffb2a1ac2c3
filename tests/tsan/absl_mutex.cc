// Lets ThreadSanitizer see absl::Mutex.
//
// Debian's Abseil is built without the sanitizer, and its Mutex does not rest on pthread's, so
// every section that it guards looks like a data race: in our code, and in that of gRPC, which
// locks with it too. A program that is linked to this source calls the functions below in their
// place, in its shared libraries as well; they tell the sanitizer what happens and call Abseil's.

#include <dlfcn.h>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
}

namespace absl {
ABSL_NAMESPACE_BEGIN
namespace {

// Abseil's own function of this mangled name.
template <typename Function>
Function Real(const char* name) {
  return reinterpret_cast<Function>(dlsym(RTLD_NEXT, name));
}

// While a mutex changes hands, Abseil evaluates the conditions of waiting threads on whichever
// thread lets go of it.
class IgnoreReadsOfConditions {
 public:
  IgnoreReadsOfConditions() { AnnotateIgnoreReadsBegin(__FILE__, __LINE__); }
  ~IgnoreReadsOfConditions() { AnnotateIgnoreReadsEnd(__FILE__, __LINE__); }
};

}  // namespace

void Mutex::Lock() {
  static const auto real = Real<void (*)(Mutex*)>("_ZN4absl7debian35Mutex4LockEv");
  real(this);
  __tsan_acquire(this);
}

void Mutex::Unlock() {
  static const auto real = Real<void (*)(Mutex*)>("_ZN4absl7debian35Mutex6UnlockEv");
  IgnoreReadsOfConditions ignore;
  __tsan_release(this);
  real(this);
}

bool Mutex::TryLock() {
  static const auto real = Real<bool (*)(Mutex*)>("_ZN4absl7debian35Mutex7TryLockEv");
  const bool locked = real(this);
  if (locked) __tsan_acquire(this);
  return locked;
}

void Mutex::Await(const Condition& condition) {
  static const auto real =
      Real<void (*)(Mutex*, const Condition&)>("_ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE");
  IgnoreReadsOfConditions ignore;
  __tsan_release(this);
  real(this, condition);
  __tsan_acquire(this);
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  static const auto real = Real<bool (*)(Mutex*, const Condition&, Duration)>(
      "_ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_8DurationE");
  IgnoreReadsOfConditions ignore;
  __tsan_release(this);
  const bool holds = real(this, condition, timeout);
  __tsan_acquire(this);
  return holds;
}

ABSL_NAMESPACE_END
}  // namespace absl
