#include "model/attention/fft_convolution.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/_fft_c2c.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/fft_fft2.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <numbers>

#include "model/attention/fft_size.h"

namespace longwave::attention {
namespace {

// Doubled along every dimension that has more than one token.
int64_t PartsOf(int64_t tokens) { return tokens > 1 ? 2 : 1; }

Convolution::Extents ExtentsOf(Convolution::Extents tokens) {
  return {GoodFftSize(tokens[0]), GoodFftSize(tokens[1])};
}

const float* Floats(const at::Tensor& complex, int64_t offset) {
  return reinterpret_cast<const float*>(complex.const_data_ptr<c10::complex<float>>()) + 2 * offset;
}

}  // namespace

int64_t TransformPoints(Convolution::Extents tokens) {
  const Convolution::Extents extents = ExtentsOf(tokens);
  return extents[0] * extents[1] * PartsOf(tokens[0]) * PartsOf(tokens[1]);
}

Convolution::Convolution(int64_t heads, Extents tokens)
    : tokens_(tokens), extents_(ExtentsOf(tokens)), norms_(heads) {
  const auto angle = [&](int64_t dimension, bool odd) {
    const double step = odd ? -std::numbers::pi / static_cast<double>(extents_[dimension]) : 0.0;
    return at::arange(extents_[dimension], at::kDouble) * step;
  };
  const int64_t rows = PartsOf(tokens[0]), columns = PartsOf(tokens[1]);
  at::Tensor twists = at::empty({rows * columns, extents_[0], extents_[1]}, at::kDouble);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < columns; ++c)
      twists[r * columns + c].copy_(angle(0, r == 1).unsqueeze(1) + angle(1, c == 1));
  twists_ = at::complex(twists.cos(), twists.sin())
                .to(at::kComplexFloat)
                .view({rows * columns, points()});
  spectra_ = at::empty({heads, rows * columns, points()}, at::kComplexFloat);
}

void Convolution::SetWeights(int64_t head, const at::Tensor& c) {
  const int64_t rows = PartsOf(tokens_[0]), columns = PartsOf(tokens_[1]);
  const int64_t height = rows * extents_[0], width = columns * extents_[1];
  // The circulant holds distance (dy, dx) at (-dy, -dx), modulo its size.
  const auto places = [](int64_t tokens, int64_t size) {
    return at::arange(1 - tokens, tokens, at::kLong).neg().remainder(size);
  };
  at::Tensor wide = at::zeros({2 * tokens_[0] - 1, width}, at::kDouble);
  wide.index_copy_(1, places(tokens_[1], width), c);
  at::Tensor circulant = at::zeros({height, width}, at::kDouble);
  circulant.index_copy_(0, places(tokens_[0], height), wide);
  const at::Tensor spectrum =
      at::fft_fft2(circulant, at::OptionalIntArrayRef(), {-2, -1}, "forward");
  // Frequency 2 k + part of the doubled transform.
  spectra_[head].copy_(spectrum.view({extents_[0], rows, extents_[1], columns})
                           .permute({1, 3, 0, 2})
                           .reshape({rows * columns, points()}));
  norms_[head] = c.square().sum().sqrt().item<double>();
}

const float* Convolution::Twist(int64_t part) const { return Floats(twists_, part * points()); }

const float* Convolution::SpectrumOf(int64_t head, int64_t part) const {
  return Floats(spectra_, (head * parts() + part) * points());
}

at::Tensor Convolution::Spread(const at::Tensor& x) const {
  at::Tensor y = at::zeros({x.size(0), extents_[0], extents_[1]}, x.options());
  if (tokens_[0] == 1) {
    y.narrow(2, 0, x.size(1)).copy_(x.unsqueeze(1));
  } else {
    y.narrow(1, 0, tokens_[0])
        .narrow(2, 0, tokens_[1])
        .copy_(x.reshape({-1, tokens_[0], tokens_[1]}));
  }
  return y.view({x.size(0), points()});
}

at::Tensor Convolution::Gather(const at::Tensor& y, int64_t n) const {
  if (tokens_[0] == 1) return y.narrow(1, 0, n);
  return y.view({-1, extents_[0], extents_[1]})
      .narrow(1, 0, tokens_[0])
      .narrow(2, 0, tokens_[1])
      .reshape({-1, n});
}

at::Tensor Convolution::Transform(const at::Tensor& x, bool forward) const {
  const at::Tensor grid = x.view({-1, extents_[0], extents_[1]});
  const at::Tensor y = extents_[0] == 1 ? at::_fft_c2c(grid, {2}, /*normalization=*/0, forward)
                                        : at::_fft_c2c(grid, {1, 2}, /*normalization=*/0, forward);
  return y.view({-1, points()});
}

}  // namespace longwave::attention
