#ifndef LONGWAVE_MODEL_ATTENTION_PLAN_ATTENTION_H_
#define LONGWAVE_MODEL_ATTENTION_PLAN_ATTENTION_H_

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <optional>
#include <string>

#include "model/attention/relative_bias.h"
#include "model/attention/relative_bias_2d.h"

namespace longwave::attention {

// The operator longwave::plan_attention: what "auto" does with sequences of these lengths, as JSON.
// features: rows of the projection. The head size of v is taken to be head_dim. projection: as
// RpeAttention takes it; without it, and on another device than the CPU, where no call reads it, a
// typical one is planned for. workspace_bytes: as in AttentionOptions. Throws c10::Error on sizes
// out of range, on a projection that RpeAttention would not take, on an unknown device or dtype,
// and where nothing keeps to workspace_bytes.
std::string PlanAttentionJson(const c10::intrusive_ptr<RelativeBias>& bias, at::IntArrayRef seqlens,
                              int64_t head_dim, int64_t features, c10::string_view device,
                              c10::string_view dtype, int64_t workspace_bytes,
                              const std::optional<at::Tensor>& projection, bool normalize,
                              double scale);

// The operator longwave::plan_attention_2d.prepared: the same for a grid.
std::string PlanAttention2dJson(const c10::intrusive_ptr<RelativeBias2d>& bias, int64_t head_dim,
                                int64_t features, c10::string_view device, c10::string_view dtype,
                                int64_t workspace_bytes,
                                const std::optional<at::Tensor>& projection, bool normalize,
                                double scale);

// The operator longwave::plan_attention_2d. bias, grid: as RelativeBias2d takes them.
std::string PlanAttention2dJsonOf(const at::Tensor& bias, at::IntArrayRef grid, int64_t head_dim,
                                  int64_t features, c10::string_view device, c10::string_view dtype,
                                  int64_t workspace_bytes, c10::string_view feature_map,
                                  const std::optional<at::Tensor>& projection, bool normalize,
                                  double scale);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_PLAN_ATTENTION_H_
