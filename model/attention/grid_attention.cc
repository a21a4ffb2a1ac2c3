// Tokens in a row-major grid.
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <string>

#include "model/attention/check.h"
#include "model/attention/kernels.h"
#include "model/attention/solve.h"

namespace longwave::attention::native {

at::Tensor RpeAttention2dPrepared(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const at::Tensor& projection,
                                  const c10::intrusive_ptr<RelativeBias2d>& bias,
                                  c10::string_view feature_map, bool normalize, double scale,
                                  c10::string_view algorithm, int64_t workspace_bytes) {
  CheckTensors(q, k, v, projection, /*rank=*/4, bias->heads());
  CheckOptions(feature_map, scale, workspace_bytes);
  CheckFeatureMap(feature_map, bias->feature_map());
  CheckGrid(q, bias->grid());

  at::Tensor out = at::empty_like(v, v.options(), at::MemoryFormat::Contiguous);
  if (out.numel() == 0) return out;
  Problem problem;
  problem.q = q.flatten(0, 1);
  problem.k = k.flatten(0, 1);
  problem.v = v.flatten(0, 1);
  problem.projection = projection.dim() == 2 ? projection.unsqueeze(0) : projection;
  problem.out = out.flatten(0, 1);
  problem.sequences = CheckSequences(q, std::nullopt, std::nullopt);
  problem.features = {ParseFeatureMap(feature_map), normalize, scale};
  problem.bias = &bias->grid_bias();
  problem.tolerance = std::max(bias->tolerance(), PromisedError(v.scalar_type()));
  problem.workspace_bytes = workspace_bytes;
  Solve(problem, algorithm);
  return out;
}

at::Tensor RpeAttention2d(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& projection, const at::Tensor& bias,
                          at::IntArrayRef grid, c10::string_view feature_map, bool normalize,
                          double scale, c10::string_view algorithm, int64_t workspace_bytes) {
  const at::Tensor table = TableOnHost(bias, q);
  CheckBiasTable(table, /*rank=*/3);
  CheckTensors(q, k, v, projection, /*rank=*/4, table.size(0));
  CheckOptions(feature_map, scale, workspace_bytes);
  CheckGrid(q, grid);
  if (v.numel() == 0) return at::empty_like(v, v.options(), at::MemoryFormat::Contiguous);
  const auto prepared =
      c10::make_intrusive<RelativeBias2d>(table, grid.vec(), std::string(feature_map));
  return RpeAttention2dPrepared(q, k, v, projection, prepared, feature_map, normalize, scale,
                                algorithm, workspace_bytes);
}

}  // namespace longwave::attention::native
