#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_FFT_SPECTRA_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_FFT_SPECTRA_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>

#include "model/attention/cuda/fft_args.h"
#include "model/attention/position_bias.h"

namespace longwave::attention::cuda {

// What "fft" needs of a table, on its device: its pieces (fft_split.h) and the transform of what
// remains.
struct FftSpectrum {
  int64_t size = 0;        // points of the transform
  int64_t reach = 0;       // tokens that it serves
  at::Tensor values;       // complex64 [heads, rows, columns], over N = rows * columns: FftArgs
  at::Tensor norms;        // float32 [heads]: L2 norm of what is transformed
  at::Tensor near;         // FftNear [heads], bytes; undefined for grids
  bool floors = false;     // any head has one
  bool transforms = true;  // any head has a remainder
  int64_t bytes() const { return values.numel() * 8; }
};

// Of one table on one device by size, made on first use, transformed in float64; the least recently
// used are dropped when all take more than kMaxBytes, but for those that a graph was captured with:
// it reads them whenever it is replayed. What is returned may be read by the current stream, also
// after it is dropped. Thread-safe; a call that has to make one waits for the device, and cannot be
// captured.
class FftSpectra {
 public:
  static constexpr int64_t kMaxBytes = int64_t{512} << 20;

  explicit FftSpectra(const at::Device& device);

  // exp(-2 pi i k / kMaxBlockPoints): complex64 [kMaxBlockPoints].
  const at::Tensor& roots() const { return roots_; }

  // Of tokens in a row: for sequences of n and perhaps more tokens, at most rows * columns / 2.
  std::shared_ptr<const FftSpectrum> Get(const PositionBias& bias, int64_t n, int64_t rows,
                                         int64_t columns) const;

  // Of a grid: values are complex64 [heads, height, width / 2 + 1], the transform of the doubled
  // and padded grid, norms are as above, nothing is split off.
  std::shared_ptr<const FftSpectrum> GetGrid(const PositionBias& bias, int64_t height,
                                             int64_t width) const;

 private:
  struct Entry {
    std::shared_ptr<const FftSpectrum> spectrum;
    bool captured;  // a graph may read it
  };

  template <typename Make>
  std::shared_ptr<const FftSpectrum> Find(int64_t size, int64_t reach, const Make& make) const;

  const at::Device device_;
  const at::Tensor roots_;
  mutable std::mutex mutex_;
  mutable std::list<Entry> recent_;  // guarded by mutex_
};

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_FFT_SPECTRA_H_
