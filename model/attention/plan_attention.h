#ifndef LONGWAVE_MODEL_ATTENTION_PLAN_ATTENTION_H_
#define LONGWAVE_MODEL_ATTENTION_PLAN_ATTENTION_H_

#include <ATen/core/Tensor.h>
#include <c10/util/ArrayRef.h>
#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <string>

#include "model/attention/feature_range.h"
#include "model/attention/relative_bias.h"
#include "model/attention/relative_bias_2d.h"

namespace longwave::attention {

// What "auto" would do with sequences of these lengths, as JSON. features: rows of the projection,
// whose features have this range. The head size of v is taken to be head_dim. Throws c10::Error on
// negative sizes and on an unknown device or dtype.
std::string PlanAttentionJson(const c10::intrusive_ptr<RelativeBias>& bias, at::IntArrayRef seqlens,
                              int64_t head_dim, int64_t features, const FeatureRange& range,
                              c10::string_view device, c10::string_view dtype,
                              int64_t workspace_bytes);

// The operator longwave::plan_attention: the same without knowing the projection, for a typical one
// with normalised inputs and scale 1.
std::string PlanTypicalAttention(const c10::intrusive_ptr<RelativeBias>& bias,
                                 at::IntArrayRef seqlens, int64_t head_dim, int64_t features,
                                 c10::string_view device, c10::string_view dtype,
                                 int64_t workspace_bytes);

// The same for a grid.
std::string PlanAttention2dJson(const c10::intrusive_ptr<RelativeBias2d>& bias, int64_t head_dim,
                                int64_t features, const FeatureRange& range,
                                c10::string_view device, c10::string_view dtype,
                                int64_t workspace_bytes);

// The operator longwave::plan_attention_2d.prepared.
std::string PlanTypicalAttention2d(const c10::intrusive_ptr<RelativeBias2d>& bias, int64_t head_dim,
                                   int64_t features, c10::string_view device,
                                   c10::string_view dtype, int64_t workspace_bytes);

// The operator longwave::plan_attention_2d. bias, grid: as RelativeBias2d takes them.
std::string PlanTypicalAttention2dOf(const at::Tensor& bias, at::IntArrayRef grid, int64_t head_dim,
                                     int64_t features, c10::string_view device,
                                     c10::string_view dtype, int64_t workspace_bytes,
                                     c10::string_view feature_map);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_PLAN_ATTENTION_H_
