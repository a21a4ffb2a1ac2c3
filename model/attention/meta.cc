// The Meta kernels: shapes, dtypes and errors without data, for torch.compile, export and memory
// estimates.
#include <ATen/ops/empty_like.h>

#include "model/attention/check.h"
#include "model/attention/kernels.h"

namespace longwave::attention::meta {
namespace {

at::Tensor Output(const at::Tensor& v) {
  return at::empty_like(v, v.options(), at::MemoryFormat::Contiguous);
}

}  // namespace

at::Tensor RpeAttentionPrepared(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                const at::Tensor& projection,
                                const c10::intrusive_ptr<RelativeBias>& bias,
                                const std::optional<at::Tensor>& cu_seqlens,
                                at::OptionalIntArrayRef seqlens, c10::string_view feature_map,
                                bool /*normalize*/, double scale, bool causal,
                                c10::string_view /*algorithm*/, int64_t workspace_bytes) {
  CheckTensors(q, k, v, projection, cu_seqlens.has_value() ? 3 : 4, bias->heads());
  CheckOptions(feature_map, scale, workspace_bytes);
  CheckAgreement(*bias, feature_map, causal);
  CheckSequences(q, cu_seqlens, seqlens);
  return Output(v);
}

at::Tensor RpeAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const at::Tensor& projection, const at::Tensor& bias,
                        const std::optional<at::Tensor>& cu_seqlens,
                        at::OptionalIntArrayRef seqlens, c10::string_view feature_map,
                        bool /*normalize*/, double scale, bool /*causal*/,
                        c10::string_view /*algorithm*/, int64_t workspace_bytes) {
  CheckBiasShape(bias, /*rank=*/2);
  CheckTensors(q, k, v, projection, cu_seqlens.has_value() ? 3 : 4, bias.size(0));
  CheckOptions(feature_map, scale, workspace_bytes);
  CheckSequences(q, cu_seqlens, seqlens);
  return Output(v);
}

at::Tensor RpeAttention2dPrepared(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                  const at::Tensor& projection,
                                  const c10::intrusive_ptr<RelativeBias2d>& bias,
                                  c10::string_view feature_map, bool /*normalize*/, double scale,
                                  c10::string_view /*algorithm*/, int64_t workspace_bytes) {
  CheckTensors(q, k, v, projection, /*rank=*/4, bias->heads());
  CheckOptions(feature_map, scale, workspace_bytes);
  CheckFeatureMap(feature_map, bias->feature_map());
  CheckGrid(q, bias->grid());
  return Output(v);
}

at::Tensor RpeAttention2d(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& projection, const at::Tensor& bias,
                          at::IntArrayRef grid, c10::string_view feature_map, bool /*normalize*/,
                          double scale, c10::string_view /*algorithm*/, int64_t workspace_bytes) {
  CheckBiasShape(bias, /*rank=*/3);
  CheckTensors(q, k, v, projection, /*rank=*/4, bias.size(0));
  CheckOptions(feature_map, scale, workspace_bytes);
  CheckGrid(q, grid);
  return Output(v);
}

}  // namespace longwave::attention::meta
