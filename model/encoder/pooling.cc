#include "model/encoder/pooling.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "model/encoder/operators.h"

namespace longwave {

int64_t WriteSpans(const std::vector<PoolRow>& rows, int64_t* spans) {
  int64_t longest = 0;
  for (const PoolRow& row : rows) {
    const int64_t tokens = row.pooling == Pooling::kMean ? row.length : 1;
    *spans++ = row.begin;
    *spans++ = tokens;
    longest = std::max(longest, tokens);
  }
  return longest;
}

at::Tensor PoolRows(const at::Tensor& hidden, const std::vector<PoolRow>& rows) {
  const at::Tensor spans = at::empty({static_cast<int64_t>(rows.size()), 2}, at::kLong);
  const int64_t longest = WriteSpans(rows, spans.mutable_data_ptr<int64_t>());
  return encoder::SpanMeans(hidden, spans.to(hidden.device()), longest);
}

}  // namespace longwave
