#ifndef LONGWAVE_MODEL_ATTENTION_KERNELS_H_
#define LONGWAVE_MODEL_ATTENTION_KERNELS_H_

#include <ATen/core/Tensor.h>
#include <c10/util/OptionalArrayRef.h>
#include <c10/util/intrusive_ptr.h>

#include <optional>

#include "model/attention/relative_bias.h"
#include "model/attention/relative_bias_2d.h"

// What stands behind the operators, by device; the operators' contracts are in operators.h. All
// throw c10::Error on arguments that cannot be used.
namespace longwave::attention {

using RpeAttentionPreparedKernel = at::Tensor(
    const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& projection,
    const c10::intrusive_ptr<RelativeBias>& bias, const std::optional<at::Tensor>& cu_seqlens,
    at::OptionalIntArrayRef seqlens, c10::string_view feature_map, bool normalize, double scale,
    bool causal, c10::string_view algorithm, int64_t workspace_bytes);

using RpeAttentionKernel = at::Tensor(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                      const at::Tensor& projection, const at::Tensor& bias,
                                      const std::optional<at::Tensor>& cu_seqlens,
                                      at::OptionalIntArrayRef seqlens, c10::string_view feature_map,
                                      bool normalize, double scale, bool causal,
                                      c10::string_view algorithm, int64_t workspace_bytes);

using RpeAttention2dPreparedKernel = at::Tensor(const at::Tensor& q, const at::Tensor& k,
                                                const at::Tensor& v, const at::Tensor& projection,
                                                const c10::intrusive_ptr<RelativeBias2d>& bias,
                                                c10::string_view feature_map, bool normalize,
                                                double scale, c10::string_view algorithm,
                                                int64_t workspace_bytes);

using RpeAttention2dKernel = at::Tensor(const at::Tensor& q, const at::Tensor& k,
                                        const at::Tensor& v, const at::Tensor& projection,
                                        const at::Tensor& bias, at::IntArrayRef grid,
                                        c10::string_view feature_map, bool normalize, double scale,
                                        c10::string_view algorithm, int64_t workspace_bytes);

// Tensors on the CPU, or another device whose algorithms are registered.
namespace native {
RpeAttentionPreparedKernel RpeAttentionPrepared;
RpeAttentionKernel RpeAttention;
RpeAttention2dPreparedKernel RpeAttention2dPrepared;
RpeAttention2dKernel RpeAttention2d;
}  // namespace native

// Shapes, dtypes and errors without data, for torch.compile, export and memory estimates.
namespace meta {
RpeAttentionPreparedKernel RpeAttentionPrepared;
RpeAttentionKernel RpeAttention;
RpeAttention2dPreparedKernel RpeAttention2dPrepared;
RpeAttention2dKernel RpeAttention2d;
}  // namespace meta

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_KERNELS_H_
