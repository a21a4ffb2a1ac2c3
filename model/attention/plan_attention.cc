#include "model/attention/plan_attention.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "model/attention/check.h"
#include "model/attention/planner.h"
#include "model/attention/sequence_bias.h"
#include "model/attention/solve.h"

namespace longwave::attention {

std::string PlanAttentionJson(const c10::intrusive_ptr<RelativeBias>& bias, at::IntArrayRef seqlens,
                              int64_t head_dim, int64_t features, const FeatureRange& range,
                              c10::string_view device, c10::string_view dtype,
                              int64_t workspace_bytes) {
  TORCH_CHECK_VALUE(head_dim >= 1, "head_dim: found ", head_dim, ", expected 1 or more");
  TORCH_CHECK_VALUE(features >= 1, "features: found ", features, ", expected 1 or more");
  TORCH_CHECK_VALUE(workspace_bytes >= 0, "workspace_bytes: found ", workspace_bytes,
                    ", expected 0 (no limit) or more");
  for (size_t s = 0; s < seqlens.size(); ++s) {
    TORCH_CHECK_VALUE(seqlens[s] >= 0, "seqlens: found ", seqlens[s], " in element ", s,
                      ", expected 0 or more");
  }
  const bool known = device == "cpu" || (device == "cuda" && !Algorithms(at::kCUDA).empty());
  TORCH_CHECK_VALUE(known, "device: found \"", device, "\", expected \"cpu\"",
                    Algorithms(at::kCUDA).empty() ? "" : " or \"cuda\"");
  TORCH_CHECK_VALUE(
      dtype == "float32" || dtype == "bfloat16" || dtype == "float16" || dtype == "float64",
      "dtype: found \"", dtype,
      "\", expected \"float32\", \"bfloat16\", \"float16\" or \"float64\"");

  Shape base;
  base.device = device == "cuda" ? at::kCUDA : at::kCPU;
  base.units = bias->heads() * static_cast<int64_t>(seqlens.size());
  base.dtype = dtype == "bfloat16"  ? at::kBFloat16
               : dtype == "float16" ? at::kHalf
               : dtype == "float64" ? at::kDouble
                                    : at::kFloat;
  base.map = ParseFeatureMap(bias->feature_map());
  base.feature_dim = features * (base.map == FeatureMap::kTrf ? 2 : 1);
  base.value_dim = head_dim;
  base.causal = bias->causal();
  base.threads = at::get_num_threads();
  base.dim = head_dim;
  base.range = range;
  const SequenceBias sequence_bias(*bias);
  base.bias = &sequence_bias;
  base.tolerance = std::max(bias->tolerance(), PromisedError(base.dtype));
  return ToJson(dtype == "float64" ? PlanReference(base, bias->heads(), seqlens)
                                   : Plan(base, bias->heads(), seqlens, workspace_bytes));
}

std::string PlanTypicalAttention(const c10::intrusive_ptr<RelativeBias>& bias,
                                 at::IntArrayRef seqlens, int64_t head_dim, int64_t features,
                                 c10::string_view device, c10::string_view dtype,
                                 int64_t workspace_bytes) {
  return PlanAttentionJson(bias, seqlens, head_dim, features, FeatureRange::Typical(head_dim),
                           device, dtype, workspace_bytes);
}

}  // namespace longwave::attention
