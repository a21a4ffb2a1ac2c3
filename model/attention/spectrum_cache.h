#ifndef LONGWAVE_MODEL_ATTENTION_SPECTRUM_CACHE_H_
#define LONGWAVE_MODEL_ATTENTION_SPECTRUM_CACHE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>

namespace longwave::attention {

// The spectra of exp(b - max b) of all heads for one transform size.
struct Spectrum {
  int64_t size = 0;   // N; serves every sequence of at most (N + 1) / 2 tokens
  at::Tensor values;  // complex64 [heads, N], divided by N: an unscaled inverse transform follows
  at::Tensor
      norms;  // float64 [heads]: L2 norm of exp(b - max b) over the distances |t| < (N + 1) / 2
};

// Spectra of one table by transform size, made on first use; the least recently used are dropped
// beyond a budget.
//
// Thread-safe. Two threads that miss at the same time both compute; one result stays.
class SpectrumCache {
 public:
  // table: float32 [heads, 2L-1] on the CPU. causal: distances t > 0 have weight 0.
  SpectrumCache(const at::Tensor& table, bool causal);

  // The spectrum of transform size `size`. What is returned stays valid when the cache drops it.
  std::shared_ptr<const Spectrum> Get(int64_t size);

 private:
  const at::Tensor table_;
  const bool causal_;
  std::mutex mutex_;
  std::list<std::shared_ptr<const Spectrum>> recent_;  // guarded by mutex_; most recent first
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_SPECTRUM_CACHE_H_
