#include "model/attention/spectrum_cache.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <limits>

#include "model/attention/checkpoint.h"
#include "model/attention/fft_size.h"

namespace longwave::attention {
namespace {

// For sequences of up to `reach` tokens.
std::shared_ptr<const Convolution> Compute(const at::Tensor& table, bool causal, int64_t reach) {
  const int64_t heads = table.size(0), edge = table.size(1) / 2;
  auto convolution = std::make_shared<Convolution>(heads, Convolution::Extents{1, reach});
  std::vector<double> far;
  for (int64_t head = 0; head < heads; ++head) {
    const float* const center = table.const_data_ptr<float>() + head * table.size(1) + edge;
    convolution->splits.push_back(SplitTable(
        [&](int64_t t) -> double {
          if (causal && t > 0) return -std::numeric_limits<double>::infinity();
          return center[std::clamp(t, -edge, edge)];
        },
        reach, far));
    Checkpoint();
    convolution->SetWeights(
        head, at::from_blob(far.data(), {1, static_cast<int64_t>(far.size())}, at::kDouble));
    Checkpoint();
  }
  return convolution;
}

}  // namespace

int64_t SpectrumCache::Reach(int64_t n) const {
  // As many tokens as the transform has points, but not beyond the table without need: its edges
  // may be large, and repeated they are no longer single weights.
  const int64_t size = GoodFftSize(n), length = (table_.size(1) + 1) / 2;
  return n <= length ? std::min(size, length) : size;
}

std::shared_ptr<const Convolution> SpectrumCache::Get(int64_t n) {
  const int64_t reach = Reach(n);
  const auto find = [&] {
    return std::find_if(recent_.begin(), recent_.end(),
                        [&](const auto& kept) { return kept->tokens()[1] == reach; });
  };
  {
    const std::lock_guard lock(mutex_);
    if (const auto it = find(); it != recent_.end()) {
      recent_.splice(recent_.begin(), recent_, it);
      return recent_.front();
    }
  }
  auto convolution = Compute(table_, causal_, reach);
  const std::lock_guard lock(mutex_);
  if (const auto it = find(); it != recent_.end()) return *it;
  recent_.push_front(convolution);
  int64_t bytes = 0;
  for (auto it = recent_.begin(); it != recent_.end();) {
    bytes += (*it)->bytes();
    it = bytes > kMaxBytes && it != recent_.begin() ? recent_.erase(it) : std::next(it);
  }
  return convolution;
}

}  // namespace longwave::attention
