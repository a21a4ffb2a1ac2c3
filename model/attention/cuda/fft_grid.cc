#include "model/attention/cuda/fft_grid.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/fft_irfft2.h>
#include <ATen/ops/fft_rfft2.h>

#include <algorithm>
#include <cmath>

#include "model/attention/checkpoint.h"
#include "model/attention/fft_size.h"

namespace longwave::attention::cuda {
namespace {

// Of the channels in flight: padded, transformed, the library's copy, transformed back.
constexpr int64_t kChannelBytes = int64_t{512} << 20;
constexpr int64_t kCopies = 4;

}  // namespace

GridConvolution::GridConvolution(const PositionBias& bias, int64_t tokens,
                                 const FftSpectra& spectra) {
  width_ = bias.Table().grid_width;
  height_ = tokens / width_;
  padded_height_ = GoodFftSize(2 * height_ - 1);
  padded_width_ = GoodFftSize(2 * width_ - 1);
  spectrum_ = spectra.GetGrid(bias, padded_height_, padded_width_);
}

int64_t GridConvolution::ChannelsAtATime() const {
  const int64_t bytes = kCopies * padded_height_ * padded_width_ * int64_t{sizeof(float)};
  return std::max<int64_t>(1, kChannelBytes / bytes);
}

at::Tensor GridConvolution::Convolve(int64_t head, const at::Tensor& x) const {
  const int64_t size[2] = {padded_height_, padded_width_};
  at::Tensor y = at::fft_rfft2(x.view({-1, height_, width_}), at::IntArrayRef(size), {-2, -1});
  y.mul_(spectrum_->values[head]);
  return at::fft_irfft2(y, at::IntArrayRef(size), {-2, -1});
}

at::Tensor GridConvolution::Crop(const at::Tensor& y) const {
  return y.narrow(1, 0, height_).narrow(2, 0, width_).reshape({y.size(0), height_ * width_});
}

void GridConvolution::AddDenominators(int64_t head, const at::Tensor& phi_q,
                                      const at::Tensor& phi_k,
                                      const at::Tensor& denominators) const {
  const double points = static_cast<double>(padded_height_ * padded_width_);
  // As in fft_passes.cu.
  const double eps = std::ldexp(1.0, -24) * std::sqrt(std::log2(std::max(points, 2.0)) / points);
  const int64_t step = ChannelsAtATime();
  for (int64_t f = 0; f < phi_k.size(0); f += step) {
    const int64_t count = std::min(step, phi_k.size(0) - f);
    const at::Tensor keys = phi_k.narrow(0, f, count), queries = phi_q.narrow(0, f, count);
    const at::Tensor y = Convolve(head, keys);
    const at::Tensor norms = keys.square().sum(1).sqrt() * spectrum_->norms[head];
    const at::Tensor noise = (norms + y.square().sum(at::IntArrayRef({1, 2})).sqrt()) * eps;
    denominators.select(1, 0).add_((Crop(y) * queries).sum(0));
    denominators.select(1, 1).add_((queries.square() * noise.square().unsqueeze(1)).sum(0));
  }
}

void GridConvolution::AddNumerators(int64_t head, const at::Tensor& phi_q, const at::Tensor& phi_k,
                                    const at::Tensor& values, const at::Tensor& numerators) const {
  const int64_t tokens = height_ * width_;
  const at::Tensor channels = values.transpose(1, 2).reshape({-1, tokens});
  at::Tensor sums = channels.new_zeros(channels.sizes());
  const int64_t at_a_time = ChannelsAtATime(), count = channels.size(0);
  const int64_t columns = std::min(count, at_a_time);
  const int64_t step = std::max<int64_t>(1, at_a_time / columns);
  for (int64_t e = 0; e < count; e += columns) {
    const at::Tensor some = channels.slice(0, e, e + columns);
    for (int64_t f = 0; f < phi_k.size(0); f += step) {
      const at::Tensor keys = phi_k.slice(0, f, f + step), queries = phi_q.slice(0, f, f + step);
      const at::Tensor x = (keys.unsqueeze(1) * some).view({-1, tokens});
      const at::Tensor y = Crop(Convolve(head, x)).view({-1, some.size(0), tokens});
      sums.slice(0, e, e + columns).add_((y * queries.unsqueeze(1)).sum(0));
      Checkpoint();  // every few milliseconds
    }
  }
  numerators.add_(sums.view({-1, 2, tokens}).transpose(1, 2));
}

}  // namespace longwave::attention::cuda
