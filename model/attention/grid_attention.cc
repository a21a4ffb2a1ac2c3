// Tokens in a row-major grid.
#include <ATen/ops/empty_like.h>

#include "model/attention/check.h"
#include "model/attention/grid_bias.h"
#include "model/attention/kernels.h"
#include "model/attention/solve.h"

namespace longwave::attention::native {

at::Tensor RpeAttention2d(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& projection, const at::Tensor& table,
                          at::IntArrayRef grid, c10::string_view feature_map, bool normalize,
                          double scale, c10::string_view algorithm) {
  const at::Tensor bias = TableOnHost(table, q);
  CheckBiasTable(bias, /*rank=*/3);
  CheckTensors(q, k, v, projection, /*rank=*/4, bias.size(0));
  CheckOptions(feature_map, scale);
  CheckGrid(q, grid);

  at::Tensor out = at::empty_like(v, v.options(), at::MemoryFormat::Contiguous);
  if (out.numel() == 0) return out;
  const GridBias grid_bias(bias, grid[0], grid[1]);
  Problem problem;
  problem.q = q.flatten(0, 1);
  problem.k = k.flatten(0, 1);
  problem.v = v.flatten(0, 1);
  problem.projection = projection.dim() == 2 ? projection.unsqueeze(0) : projection;
  problem.out = out.flatten(0, 1);
  problem.sequences = CheckSequences(q, std::nullopt, std::nullopt);
  problem.features = {ParseFeatureMap(feature_map), normalize, scale};
  problem.bias = &grid_bias;
  problem.tolerance = PromisedError(v.scalar_type());
  Solve(problem, algorithm);
  return out;
}

}  // namespace longwave::attention::native
