#include "model/attention/plan_attention.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>
#include <string>

#include "model/attention/check.h"
#include "model/attention/planner.h"
#include "model/attention/sequence_bias.h"
#include "model/attention/solve.h"

namespace longwave::attention {
namespace {

// What the features of a call look like to its planner.
FeatureRange RangeOf(const std::optional<at::Tensor>& projection, int64_t heads, int64_t head_dim,
                     int64_t features, bool normalize, double scale, at::DeviceType device) {
  if (!projection.has_value()) return FeatureRange::Typical(head_dim, normalize, scale);
  CheckProjection(*projection, heads, head_dim, features);
  return device == at::kCPU ? FeatureRange::Of(*projection, normalize, scale)
                            : FeatureRange::Typical(head_dim, normalize, scale);
}

// Checks what both kinds of plans are asked with. Returns a shape without a bias.
Shape BaseShape(int64_t heads, int64_t sequences, int64_t head_dim, int64_t features,
                c10::string_view feature_map, c10::string_view device, c10::string_view dtype,
                int64_t workspace_bytes, const std::optional<at::Tensor>& projection,
                bool normalize, double scale) {
  TORCH_CHECK_VALUE(head_dim >= 1, "head_dim: found ", head_dim, ", expected 1 or more");
  TORCH_CHECK_VALUE(features >= 1, "features: found ", features, ", expected 1 or more");
  CheckOptions(feature_map, scale, workspace_bytes);
  const bool known = device == "cpu" || (device == "cuda" && !Algorithms(at::kCUDA).empty());
  TORCH_CHECK_VALUE(known, "device: found \"", device, "\", expected \"cpu\"",
                    Algorithms(at::kCUDA).empty() ? "" : " or \"cuda\"");
  TORCH_CHECK_VALUE(
      dtype == "float32" || dtype == "bfloat16" || dtype == "float16" || dtype == "float64",
      "dtype: found \"", dtype,
      "\", expected \"float32\", \"bfloat16\", \"float16\" or \"float64\"");

  Shape base;
  base.device = device == "cuda" ? at::kCUDA : at::kCPU;
  base.units = heads * sequences;
  base.dtype = dtype == "bfloat16"  ? at::kBFloat16
               : dtype == "float16" ? at::kHalf
               : dtype == "float64" ? at::kDouble
                                    : at::kFloat;
  base.map = ParseFeatureMap(feature_map);
  base.feature_dim = features * (base.map == FeatureMap::kTrf ? 2 : 1);
  base.value_dim = head_dim;
  base.threads = at::get_num_threads();
  base.dim = head_dim;
  base.range = RangeOf(projection, heads, head_dim, features, normalize, scale, base.device);
  base.tolerance = PromisedError(base.dtype);
  return base;
}

std::string PlanJson(const Shape& base, int64_t heads, at::IntArrayRef lengths,
                     int64_t workspace_bytes) {
  return ToJson(base.dtype == at::kDouble ? PlanReference(base, heads, lengths)
                                          : Plan(base, heads, lengths, workspace_bytes));
}

}  // namespace

std::string PlanAttentionJson(const c10::intrusive_ptr<RelativeBias>& bias, at::IntArrayRef seqlens,
                              int64_t head_dim, int64_t features, c10::string_view device,
                              c10::string_view dtype, int64_t workspace_bytes,
                              const std::optional<at::Tensor>& projection, bool normalize,
                              double scale) {
  CheckLengths(seqlens);
  const SequenceBias sequence_bias(*bias);
  Shape base =
      BaseShape(bias->heads(), static_cast<int64_t>(seqlens.size()), head_dim, features,
                bias->feature_map(), device, dtype, workspace_bytes, projection, normalize, scale);
  base.causal = bias->causal();
  base.bias = &sequence_bias;
  base.tolerance = std::max(bias->tolerance(), base.tolerance);
  return PlanJson(base, bias->heads(), seqlens, workspace_bytes);
}

std::string PlanAttention2dJson(const c10::intrusive_ptr<RelativeBias2d>& bias, int64_t head_dim,
                                int64_t features, c10::string_view device, c10::string_view dtype,
                                int64_t workspace_bytes,
                                const std::optional<at::Tensor>& projection, bool normalize,
                                double scale) {
  Shape base = BaseShape(bias->heads(), /*sequences=*/1, head_dim, features, bias->feature_map(),
                         device, dtype, workspace_bytes, projection, normalize, scale);
  base.bias = &bias->grid_bias();
  base.tolerance = std::max(bias->tolerance(), base.tolerance);
  return PlanJson(base, bias->heads(), {bias->grid()[0] * bias->grid()[1]}, workspace_bytes);
}

std::string PlanAttention2dJsonOf(const at::Tensor& bias, at::IntArrayRef grid, int64_t head_dim,
                                  int64_t features, c10::string_view device, c10::string_view dtype,
                                  int64_t workspace_bytes, c10::string_view feature_map,
                                  const std::optional<at::Tensor>& projection, bool normalize,
                                  double scale) {
  return PlanAttention2dJson(
      c10::make_intrusive<RelativeBias2d>(bias, grid.vec(), std::string(feature_map)), head_dim,
      features, device, dtype, workspace_bytes, projection, normalize, scale);
}

}  // namespace longwave::attention
