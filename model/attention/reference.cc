#include "model/attention/reference.h"

#include <ATen/Parallel.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/matmul.h>

#include <algorithm>
#include <numeric>

#include "model/attention/algorithm.h"
#include "model/attention/features.h"

namespace longwave::attention {
namespace {

constexpr int64_t kBlockBytes = int64_t{32} << 20;

class ReferenceAlgorithm final : public Algorithm {
 public:
  std::string_view name() const override { return "reference"; }

  bool Serves(FeatureMap) const override { return true; }

  Estimate Predict(const Shape& shape) const override {
    // Measured on an EPYC core: 6 GFLOP/s in float64, exponentials included.
    const double n = static_cast<double>(shape.length);
    const double flop = 2 * n * n * static_cast<double>(shape.feature_dim + shape.value_dim);
    return {flop / 6e6 / shape.threads, 1e-12, 2 * kBlockBytes};
  }

  void Run(const Part& part, OnDoubt) const override {
    const Problem& problem = *part.problem;
    for (const Sequence& sequence : part.sequences) {
      if (sequence.length == 0) continue;
      std::vector<int64_t> rows(sequence.length);
      std::iota(rows.begin(), rows.end(), 0);
      for (int64_t head = part.head_begin; head < part.head_end; ++head) {
        problem.out.narrow(0, sequence.begin, sequence.length)
            .select(1, head)
            .copy_(ReferenceRows(problem, sequence, head, rows));
      }
    }
  }
};

}  // namespace

at::Tensor ReferenceRows(const Problem& problem, const Sequence& sequence, int64_t head,
                         const std::vector<int64_t>& rows) {
  const int64_t n = sequence.length;
  const Features phi = ComputeFeatures64(problem, sequence, head);
  const at::Tensor keys = phi.k.transpose(0, 1);
  const at::Tensor values = problem.v.narrow(0, sequence.begin, n).select(1, head).to(at::kDouble);
  const auto pairs = problem.bias->Pairs(head, n);

  const int64_t count = static_cast<int64_t>(rows.size());
  const int64_t step = std::max<int64_t>(1, kBlockBytes / (n * int64_t{sizeof(double)}));
  at::Tensor out = at::empty({count, values.size(1)}, at::kDouble);
  at::Tensor block = at::empty({std::min(step, count), n}, at::kDouble);
  for (int64_t begin = 0; begin < count; begin += step) {
    const int64_t size = std::min(step, count - begin);
    at::Tensor weights = block.narrow(0, 0, size);
    double* const data = weights.mutable_data_ptr<double>();
    at::parallel_for(0, size, 1, [&](int64_t from, int64_t to) {
      for (int64_t r = from; r < to; ++r) {
        const int64_t i = rows[begin + r];
        pairs->Log(i, data + r * n);
        for (int64_t j = 0; j < n; ++j) data[r * n + j] -= pairs->RowMax(i);
      }
    });
    const at::Tensor index =
        at::from_blob(const_cast<int64_t*>(rows.data() + begin), {size}, at::kLong);
    weights.exp_().mul_(at::matmul(phi.q.index_select(0, index), keys));
    out.narrow(0, begin, size)
        .copy_(at::matmul(weights, values).div_(weights.sum(1, /*keepdim=*/true)));
  }
  return out;
}

const Algorithm& Reference() {
  static const ReferenceAlgorithm algorithm;
  return algorithm;
}

}  // namespace longwave::attention
