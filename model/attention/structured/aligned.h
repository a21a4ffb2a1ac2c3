#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_ALIGNED_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_ALIGNED_H_

#include <cstddef>
#include <cstdlib>
#include <memory>

namespace longwave::attention {

// Floats of one cache line: the alignment of every tile and state.
inline constexpr std::size_t kAlignment = 64 / sizeof(float);

// Rounded up so that consecutive pieces stay aligned.
inline std::size_t Aligned(std::size_t floats) {
  return (floats + kAlignment - 1) / kAlignment * kAlignment;
}

// Uninitialised memory aligned for the kernels; large blocks take huge pages where the system has
// them, which saves most of the cost of touching fresh memory. Throws std::bad_alloc.
class AlignedFloats {
 public:
  explicit AlignedFloats(std::size_t floats);

  float* data() const { return storage_.get(); }

 private:
  struct Free {
    void operator()(float* storage) const { std::free(storage); }
  };
  std::unique_ptr<float[], Free> storage_;
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_ALIGNED_H_
