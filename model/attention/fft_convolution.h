#ifndef LONGWAVE_MODEL_ATTENTION_FFT_CONVOLUTION_H_
#define LONGWAVE_MODEL_ATTENTION_FFT_CONVOLUTION_H_

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <vector>

#include "model/attention/fft_split.h"

namespace longwave::attention {

// y_i = sum_j c[j - i] x_j for tokens i, j in a row or in a grid, by the fast Fourier transform.
//
// A transform of twice the tokens would be half zeros. Its even frequencies are a transform of the
// tokens alone, its odd ones the same of the tokens times a twist: a Toeplitz matrix is half a
// circulant plus half a skew-circulant one. So y = sum over parts of conj(twist) ifft(spectrum
// fft(twist x)), where every transform has the size of the tokens: two parts for a row, four for a
// grid. c is real: real and imaginary part of x are two channels that do not mix.
//
// Immutable, thread-safe.
class Convolution {
 public:
  using Extents = std::array<int64_t, 2>;

  // Weights of one head, ordered by distance: float64 [2 tokens[0] - 1, 2 tokens[1] - 1]. A row is
  // a grid of height 1. The tensors are filled head by head.
  Convolution(int64_t heads, Extents tokens);
  void SetWeights(int64_t head, const at::Tensor& c);

  // Tokens that it serves, and points of each transform, at least as many.
  const Extents& tokens() const { return tokens_; }
  const Extents& extents() const { return extents_; }
  int64_t points() const { return extents_[0] * extents_[1]; }
  int64_t parts() const { return twists_.size(0); }

  // complex64 [points] by part.
  const float* Twist(int64_t part) const;
  // complex64 [points]: the weights' transform, scaled so that unscaled transforms follow.
  const float* SpectrumOf(int64_t head, int64_t part) const;
  // L2 norm of c.
  double WeightNorm(int64_t head) const { return norms_[head]; }

  // [channels, points], zero where there is no token: x [channels, n], the first n tokens of a row
  // or all of a grid.
  at::Tensor Spread(const at::Tensor& x) const;
  // The inverse of Spread, without a copy for rows.
  at::Tensor Gather(const at::Tensor& y, int64_t n) const;

  // Unscaled transforms of complex64 [channels, points].
  at::Tensor Transform(const at::Tensor& x, bool forward) const;

  int64_t bytes() const { return spectra_.numel() * 8 + twists_.numel() * 8; }

  // The other pieces of each head's weights: what is transformed is `far`. Empty for grids: all of
  // them are transformed.
  std::vector<TableSplit> splits;

 private:
  const Extents tokens_;
  Extents extents_;
  at::Tensor twists_;   // complex64 [parts, points]
  at::Tensor spectra_;  // complex64 [heads, parts, points]
  std::vector<double> norms_;
};

// Points that the transforms for so many tokens have, over all parts.
int64_t TransformPoints(Convolution::Extents tokens);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_FFT_CONVOLUTION_H_
