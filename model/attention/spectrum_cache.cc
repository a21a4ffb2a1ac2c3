#include "model/attention/spectrum_cache.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/fft_fft.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <limits>

namespace longwave::attention {
namespace {

// A packed batch has a handful of lengths; nearby ones share a size.
constexpr size_t kMaxSpectra = 16;

std::shared_ptr<const Spectrum> Compute(const at::Tensor& table, bool causal, int64_t size) {
  const int64_t reach = (size - 1) / 2;  // largest distance that does not wrap
  const int64_t edge = table.size(1) / 2;
  // Element p of the first column of the circulant belongs to distance -p, element N - p to +p.
  const at::Tensor t = at::arange(-reach, reach + 1, at::kLong);
  at::Tensor b = table.index_select(1, t.clamp(-edge, edge) + edge).to(at::kDouble);
  if (causal) b.masked_fill_(t.gt(0).unsqueeze(0), -std::numeric_limits<double>::infinity());
  const at::Tensor c = (b - b.amax(1, /*keepdim=*/true)).exp();
  at::Tensor circulant = at::zeros({table.size(0), size}, at::kDouble);
  circulant.index_copy_(1, t.neg().remainder(size), c);

  auto spectrum = std::make_shared<Spectrum>();
  spectrum->size = size;
  spectrum->values = at::fft_fft(circulant, size, -1, "forward").to(at::kComplexFloat).contiguous();
  spectrum->norms = c.square().sum(1).sqrt();
  return spectrum;
}

}  // namespace

std::shared_ptr<const Spectrum> SpectrumCache::Get(int64_t size) {
  const auto find = [&] {
    return std::find_if(recent_.begin(), recent_.end(),
                        [&](const auto& spectrum) { return spectrum->size == size; });
  };
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = find(); it != recent_.end()) {
      recent_.splice(recent_.begin(), recent_, it);
      return recent_.front();
    }
  }
  auto spectrum = Compute(table_, causal_, size);
  const std::lock_guard lock(mutex_);
  if (const auto it = find(); it != recent_.end()) return *it;
  recent_.push_front(spectrum);
  if (recent_.size() > kMaxSpectra) recent_.pop_back();
  return spectrum;
}

}  // namespace longwave::attention
