#include "model/attention/operators.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include "model/attention/kernels.h"
#include "model/attention/plan_attention.h"

namespace longwave::attention {
namespace {

template <typename Signature>
auto Operator(const char* name, const char* overload) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, overload).typed<Signature>();
}

}  // namespace

at::Tensor RpeAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const at::Tensor& projection, const c10::intrusive_ptr<RelativeBias>& bias,
                        const std::optional<at::Tensor>& cu_seqlens,
                        at::OptionalIntArrayRef seqlens, const AttentionOptions& options) {
  static const auto op =
      Operator<RpeAttentionPreparedKernel>("longwave::rpe_attention", "prepared");
  return op.call(q, k, v, projection, bias, cu_seqlens, seqlens, options.feature_map,
                 options.normalize, options.scale, options.causal, options.algorithm,
                 options.workspace_bytes);
}

at::Tensor RpeAttention2d(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& projection,
                          const c10::intrusive_ptr<RelativeBias2d>& bias,
                          const AttentionOptions& options) {
  TORCH_CHECK_VALUE(!options.causal, "causal: found true, expected false for a grid");
  static const auto op =
      Operator<RpeAttention2dPreparedKernel>("longwave::rpe_attention_2d", "prepared");
  return op.call(q, k, v, projection, bias, options.feature_map, options.normalize, options.scale,
                 options.algorithm, options.workspace_bytes);
}

std::string PlanAttention(const c10::intrusive_ptr<RelativeBias>& bias, at::IntArrayRef seqlens,
                          const at::Tensor& projection, bool normalize, double scale,
                          const std::string& device, const std::string& dtype,
                          int64_t workspace_bytes) {
  return PlanAttentionJson(bias, seqlens, projection.size(-1), projection.size(-2), device, dtype,
                           workspace_bytes, projection, normalize, scale);
}

std::string PlanAttention2d(const c10::intrusive_ptr<RelativeBias2d>& bias,
                            const at::Tensor& projection, bool normalize, double scale,
                            const std::string& device, const std::string& dtype,
                            int64_t workspace_bytes) {
  return PlanAttention2dJson(bias, projection.size(-1), projection.size(-2), device, dtype,
                             workspace_bytes, projection, normalize, scale);
}

}  // namespace longwave::attention
