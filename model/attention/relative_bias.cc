#include "model/attention/relative_bias.h"

#include <utility>

#include "model/attention/check.h"
#include "model/attention/spectrum_cache.h"
#include "model/attention/structured/table_structures.h"
#include "model/attention/table_extent.h"

namespace longwave::attention {

RelativeBias::RelativeBias(const at::Tensor& bias, std::string feature_map, bool causal,
                           int64_t max_len, double tolerance)
    : feature_map_(std::move(feature_map)),
      causal_(causal),
      max_len_(max_len),
      tolerance_(tolerance) {
  CheckBiasTable(bias, /*rank=*/2);
  ParseFeatureMap(feature_map_);
  TORCH_CHECK_VALUE(max_len >= 0, "max_len: found ", max_len,
                    ", expected 0 (the table's own) or more");
  CheckTolerance(tolerance);
  table_ = bias.detach().clone(at::MemoryFormat::Contiguous);
  if (max_len_ == 0) max_len_ = length();
  spectra_ = std::make_unique<SpectrumCache>(table_, causal_);
}

const TableStructures& RelativeBias::structures() const {
  std::call_once(analysed_,
                 [this] { structures_ = std::make_unique<TableStructures>(table_, causal_); });
  return *structures_;
}

const TableExtent& RelativeBias::extent(int64_t head) const {
  std::call_once(measured_, [this] {
    const int64_t size = table_.size(1);
    for (int64_t h = 0; h < heads(); ++h)
      extents_.emplace_back(table_.const_data_ptr<float>() + h * size, size / 2, causal_);
  });
  return extents_[head];
}

RelativeBias::~RelativeBias() = default;

}  // namespace longwave::attention
