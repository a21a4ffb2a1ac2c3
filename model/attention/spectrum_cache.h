#ifndef LONGWAVE_MODEL_ATTENTION_SPECTRUM_CACHE_H_
#define LONGWAVE_MODEL_ATTENTION_SPECTRUM_CACHE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>

#include "model/attention/fft_convolution.h"

namespace longwave::attention {

// Convolutions of one table of distances by transform size, made on first use and shared by all
// calls; nearby lengths share a size. The least recently used are dropped when all take more than
// kMaxBytes; the last one stays.
//
// Thread-safe. Two threads that miss at the same time both compute; one result stays.
class SpectrumCache {
 public:
  static constexpr int64_t kMaxBytes = int64_t{256} << 20;

  // table: float32 [heads, 2L-1] on the CPU. causal: distances t > 0 have weight 0.
  SpectrumCache(const at::Tensor& table, bool causal) : table_(table), causal_(causal) {}

  // The reach of the table that sequences of n tokens are given: of its convolution and its split.
  int64_t Reach(int64_t n) const;

  // For sequences of n tokens, perhaps longer ones, too; beyond the table its edges hold. Stays
  // valid when the cache drops it.
  std::shared_ptr<const Convolution> Get(int64_t n);

 private:
  const at::Tensor table_;
  const bool causal_;
  std::mutex mutex_;
  // Guarded by mutex_; most recent first.
  std::list<std::shared_ptr<const Convolution>> recent_;
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_SPECTRUM_CACHE_H_
