#ifndef LONGWAVE_MODEL_ATTENTION_GRID_BIAS_H_
#define LONGWAVE_MODEL_ATTENTION_GRID_BIAS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "model/attention/device_cache.h"
#include "model/attention/position_bias.h"
#include "model/attention/structured/prepared_grid.h"

namespace longwave::attention {

// The bias of tokens in a row-major grid: b[y_j - y_i, x_j - x_i]. Its analysis and its spectra are
// made on first use and kept.
class GridBias final : public PositionBias {
 public:
  // table: float32 [heads, 2H-1, 2W-1] on the CPU, contiguous; height, width: the grid, at least 1.
  // Every sequence has height * width tokens.
  GridBias(const at::Tensor& table, int64_t height, int64_t width);

  std::unique_ptr<PairWeights> Pairs(int64_t head, int64_t length) const override;
  std::shared_ptr<const Convolution> Convolve(int64_t length) const override;
  int64_t TransformSize(int64_t length) const override;
  bool causal() const override { return false; }
  BiasTable Table() const override { return {table_, width_}; }
  DeviceCache& device_cache() const override { return device_cache_; }
  const PreparedHead* Structure(int64_t, bool) const override { return nullptr; }
  const PreparedGrid* Grid(int64_t head) const override;

 private:
  // float32 [heads, 2 height - 1, 2 width - 1]: exactly the distances of this grid.
  at::Tensor table_;
  int64_t height_;
  int64_t width_;
  mutable DeviceCache device_cache_;
  mutable std::once_flag transformed_;
  mutable std::shared_ptr<const Convolution> convolution_;
  mutable std::once_flag analysed_;
  mutable std::vector<std::optional<PreparedGrid>> structures_;  // by head
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_GRID_BIAS_H_
