#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_FFT_GRID_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_FFT_GRID_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/attention/cuda/fft_spectra.h"
#include "model/attention/position_bias.h"

namespace longwave::attention::cuda {

// The convolutions of one head for tokens in a grid, by cuFFT over some channels at a time: every
// channel is doubled and padded in both dimensions. Queues on the current stream.
class GridConvolution {
 public:
  // tokens: of a sequence, all of the grid.
  GridConvolution(const PositionBias& bias, int64_t tokens, const FftSpectra& spectra);

  // phi_q, phi_k: float32 [features, tokens]. denominators: float32 [tokens, 2] as FftArgs has
  // them; adds to them.
  void AddDenominators(int64_t head, const at::Tensor& phi_q, const at::Tensor& phi_k,
                       const at::Tensor& denominators) const;

  // values: float32 [pairs, tokens, 2]. Adds to numerators, the same shape.
  void AddNumerators(int64_t head, const at::Tensor& phi_q, const at::Tensor& phi_k,
                     const at::Tensor& values, const at::Tensor& numerators) const;

 private:
  // x: [channels, tokens]. Returns [channels, padded height, padded width].
  at::Tensor Convolve(int64_t head, const at::Tensor& x) const;
  at::Tensor Crop(const at::Tensor& y) const;
  int64_t ChannelsAtATime() const;

  int64_t height_, width_;                // of the grid
  int64_t padded_height_, padded_width_;  // of the transforms
  std::shared_ptr<const FftSpectrum> spectrum_;
};

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_FFT_GRID_H_
