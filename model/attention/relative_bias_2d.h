#ifndef LONGWAVE_MODEL_ATTENTION_RELATIVE_BIAS_2D_H_
#define LONGWAVE_MODEL_ATTENTION_RELATIVE_BIAS_2D_H_

#include <ATen/core/Tensor.h>
#include <torch/custom_class.h>

#include <cstdint>
#include <string>
#include <vector>

#include "model/attention/grid_bias.h"

namespace longwave::attention {

// The table of a relative positional bias on grids (images) of one size, checked and analysed once,
// used by many calls; what RelativeBias is for tokens in a row.
//
// Token i gives token j the weight exp(b[y_j - y_i, x_j - x_i]) times the kernel of their features.
// In Python it is the TorchBind class torch.classes.longwave.RelativeBias2d(bias, grid,
// feature_map, tolerance).
//
// Thread-safe: the table never changes; what is made of it on first use, and kept, has its locks.
class RelativeBias2d final : public torch::CustomClassHolder {
 public:
  // bias: float32 [heads, 2H-1, 2W-1] on the CPU, raw (not exponentiated), at [dy + H-1, dx + W-1];
  //   distances beyond keep the edge value. -inf forbids a distance. It is copied.
  // grid: {height, width} in tokens, 1 or more, at most 2^24 in all; H and W may be smaller or larger.
  // feature_map: "prf" or "trf"; a call must agree. tolerance: as in RelativeBias.
  //
  // Throws c10::Error on a wrong dtype, shape, device or layout, on NaN and +inf, on -inf at
  // distance 0, on a bias that requires grad under grad mode, on an unknown feature map, and on a
  // grid or tolerance out of range.
  RelativeBias2d(const at::Tensor& bias, std::vector<int64_t> grid, std::string feature_map = "prf",
                 double tolerance = 1e-5);

  // float32 [heads, 2H-1, 2W-1], contiguous.
  const at::Tensor& table() const { return table_; }
  const std::vector<int64_t>& grid() const { return grid_; }
  const std::string& feature_map() const { return feature_map_; }
  double tolerance() const { return tolerance_; }

  int64_t heads() const { return table_.size(0); }

  // The table as algorithms see it, with its analysis and spectra.
  const GridBias& grid_bias() const { return grid_bias_; }

 private:
  const at::Tensor table_;
  const std::vector<int64_t> grid_;
  const std::string feature_map_;
  const double tolerance_;
  const GridBias grid_bias_;
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_RELATIVE_BIAS_2D_H_
