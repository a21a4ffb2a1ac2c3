// Tokens in a row.
#include <ATen/ops/empty_like.h>

#include <algorithm>

#include "model/attention/check.h"
#include "model/attention/kernels.h"
#include "model/attention/sequence_bias.h"
#include "model/attention/solve.h"

namespace longwave::attention::native {

at::Tensor RpeAttentionPrepared(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const at::Tensor& projection,
                                const c10::intrusive_ptr<RelativeBias>& bias,
                                const std::optional<at::Tensor>& cu_seqlens,
                                at::OptionalIntArrayRef seqlens, c10::string_view feature_map,
                                bool normalize, double scale, bool causal,
                                c10::string_view algorithm, int64_t workspace_bytes) {
  CheckTensors(q, k, v, projection, cu_seqlens.has_value() ? 3 : 4, bias->heads());
  CheckOptions(feature_map, scale, workspace_bytes);
  CheckAgreement(*bias, feature_map, causal);
  const auto packed = [](const at::Tensor& x) { return x.dim() == 4 ? x.flatten(0, 1) : x; };

  at::Tensor out = at::empty_like(v, v.options(), at::MemoryFormat::Contiguous);
  const SequenceBias sequence_bias(*bias);
  Problem problem;
  problem.q = packed(q);
  problem.k = packed(k);
  problem.v = packed(v);
  problem.projection = projection.dim() == 2 ? projection.unsqueeze(0) : projection;
  problem.out = packed(out);
  problem.sequences = CheckSequences(q, cu_seqlens, seqlens);
  problem.cu_seqlens = cu_seqlens.value_or(at::Tensor());
  problem.features = {ParseFeatureMap(feature_map), normalize, scale};
  problem.bias = &sequence_bias;
  problem.tolerance = std::max(bias->tolerance(), PromisedError(v.scalar_type()));
  problem.workspace_bytes = workspace_bytes;
  Solve(problem, algorithm);
  return out;
}

at::Tensor RpeAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const at::Tensor& projection, const at::Tensor& bias,
                        const std::optional<at::Tensor>& cu_seqlens,
                        at::OptionalIntArrayRef seqlens, c10::string_view feature_map,
                        bool normalize, double scale, bool causal, c10::string_view algorithm,
                        int64_t workspace_bytes) {
  const auto prepared =
      c10::make_intrusive<RelativeBias>(TableOnHost(bias, q), std::string(feature_map), causal);
  return RpeAttentionPrepared(q, k, v, projection, prepared, cu_seqlens, seqlens, feature_map,
                              normalize, scale, causal, algorithm, workspace_bytes);
}

}  // namespace longwave::attention::native
