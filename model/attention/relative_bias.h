#ifndef LONGWAVE_MODEL_ATTENTION_RELATIVE_BIAS_H_
#define LONGWAVE_MODEL_ATTENTION_RELATIVE_BIAS_H_

#include <ATen/core/Tensor.h>
#include <torch/custom_class.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "model/attention/device_cache.h"

namespace longwave::attention {

class SpectrumCache;
class TableExtent;
class TableStructures;

// The table of a relative positional bias, checked and analysed once, used by many calls.
//
// Token i gives token j the weight exp(b[j - i]) times the kernel of their features. In Python it
// is the TorchBind class torch.classes.longwave.RelativeBias(bias, feature_map, causal, max_len,
// tolerance).
//
// Thread-safe: the table never changes; what is made of it on first use, and kept, has its locks.
class RelativeBias final : public torch::CustomClassHolder {
 public:
  // bias: float32 [heads, 2L-1] on the CPU, raw (not exponentiated), ascending in t = j - i from
  // -(L-1) to L-1; distances beyond keep the edge value. -inf forbids a distance. It is copied:
  // later changes of the tensor do not matter.
  // feature_map: "prf" or "trf"; causal: token i sees j <= i only. A call must agree with both.
  // max_len: the longest sequence that the table is meant for; 0: its own L. It travels with the
  // table and changes no answer: longer sequences are legal, and where an analysis holds up to some
  // length only, the planner knows. tolerance: the error that a call may make, as a share of max|v|
  // (float32 inputs), at least the 1e-5 that is promised.
  //
  // Throws c10::Error on a wrong dtype, shape, device or layout, on NaN and +inf, on -inf at t = 0,
  // on a bias that requires grad under grad mode, on an unknown feature map, and on max_len or
  // tolerance out of range.
  RelativeBias(const at::Tensor& bias, std::string feature_map = "prf", bool causal = false,
               int64_t max_len = 0, double tolerance = 1e-5);
  ~RelativeBias() override;

  // float32 [heads, 2L-1], contiguous.
  const at::Tensor& table() const { return table_; }
  const std::string& feature_map() const { return feature_map_; }
  bool causal() const { return causal_; }
  int64_t max_len() const { return max_len_; }
  double tolerance() const { return tolerance_; }

  int64_t heads() const { return table_.size(0); }
  // L: distances from -(L-1) to L-1 are in the table.
  int64_t length() const { return (table_.size(1) + 1) / 2; }

  // Spectra of exp(b), made on first use, for the algorithm "fft".
  SpectrumCache& spectra() const { return *spectra_; }

  // What the heads' tables are made of, analysed on first use, for "structured" and "low_rank".
  const TableStructures& structures() const;

  // How much work a head's weights leave to "direct" and "fft", measured on first use.
  const TableExtent& extent(int64_t head) const;

  // What kernels of other devices keep of the table.
  DeviceCache& device_cache() const { return device_cache_; }

 private:
  at::Tensor table_;
  std::string feature_map_;
  bool causal_;
  int64_t max_len_;
  double tolerance_;
  std::unique_ptr<SpectrumCache> spectra_;
  mutable DeviceCache device_cache_;
  mutable std::once_flag analysed_, measured_;
  mutable std::unique_ptr<const TableStructures> structures_;
  mutable std::vector<TableExtent> extents_;  // of every head
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_RELATIVE_BIAS_H_
