#ifndef LONGWAVE_MODEL_ATTENTION_SPECTRUM_CACHE_H_
#define LONGWAVE_MODEL_ATTENTION_SPECTRUM_CACHE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>

namespace longwave::attention {

// The spectra of c = exp(b - max b) of all heads for one transform, b over the distances that the
// transform can serve.
struct Spectrum {
  int64_t size = 0;   // N, points of the transform
  at::Tensor values;  // complex64 [heads, ...the transform's shape], divided by N: an unscaled
                      // inverse transform follows
  at::Tensor norms;   // float64 [heads]: L2 norm of c
};

// Spectra of one table of distances by transform size, made on first use; the least recently used
// are dropped.
//
// Thread-safe. Two threads that miss at the same time both compute; one result stays.
class SpectrumCache {
 public:
  // table: float32 [heads, 2L-1] on the CPU. causal: distances t > 0 have weight 0.
  SpectrumCache(const at::Tensor& table, bool causal) : table_(table), causal_(causal) {}

  // The spectrum of N = size points, for sequences of at most (N + 1) / 2 tokens: with x padded by
  // zeros to N, the first elements of ifft(values * fft(x)) (the inverse not scaled) are sum_j c[j
  // - i] x[j]. Stays valid when the cache drops it.
  std::shared_ptr<const Spectrum> Get(int64_t size);

 private:
  const at::Tensor table_;
  const bool causal_;
  std::mutex mutex_;
  std::list<std::shared_ptr<const Spectrum>> recent_;  // guarded by mutex_; most recent first
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_SPECTRUM_CACHE_H_
