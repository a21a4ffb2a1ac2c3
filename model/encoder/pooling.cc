#include "model/encoder/pooling.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/mean.h>

namespace longwave {

at::Tensor PoolRows(const at::Tensor& hidden, const std::vector<PoolRow>& rows) {
  at::Tensor pooled =
      at::empty({static_cast<int64_t>(rows.size()), hidden.size(1)}, hidden.options());
  for (size_t i = 0; i < rows.size(); ++i) {
    const PoolRow& row = rows[i];
    at::Tensor out = pooled.select(0, static_cast<int64_t>(i));
    if (row.pooling == Pooling::kMean && row.length > 1) {
      at::mean_out(out, hidden.narrow(0, row.begin, row.length), /*dim=*/0);
    } else {
      out.copy_(hidden.select(0, row.begin));
    }
  }
  return pooled;
}

}  // namespace longwave
