#include "model/attention/structured/aligned.h"

#include <sys/mman.h>

#include <new>

namespace longwave::attention {

AlignedFloats::AlignedFloats(std::size_t floats) {
  constexpr std::size_t kHugePage = std::size_t{2} << 20;
  const std::size_t needed = floats * sizeof(float);
  const std::size_t alignment = needed >= kHugePage ? kHugePage : 64;
  const std::size_t bytes = (needed + alignment - 1) / alignment * alignment;
  storage_.reset(static_cast<float*>(std::aligned_alloc(alignment, bytes)));
  if (storage_ == nullptr && bytes > 0) throw std::bad_alloc();
  // A wish: without huge pages the memory is as good.
  if (alignment == kHugePage) madvise(storage_.get(), bytes, MADV_HUGEPAGE);
}

}  // namespace longwave::attention
