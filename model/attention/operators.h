#ifndef LONGWAVE_MODEL_ATTENTION_OPERATORS_H_
#define LONGWAVE_MODEL_ATTENTION_OPERATORS_H_

#include <ATen/core/Tensor.h>
#include <c10/util/OptionalArrayRef.h>
#include <c10/util/intrusive_ptr.h>

#include <cstdint>
#include <optional>
#include <string>

#include "model/attention/relative_bias.h"
#include "model/attention/relative_bias_2d.h"

// The operators of TORCH_LIBRARY(longwave), callable from C++. Every function goes through the
// dispatcher, so the kernels of the tensors' device answer. All are inference only, thread-safe,
// and throw c10::Error: the message names the argument, what came and what was expected.
namespace longwave::attention {

struct AttentionOptions {
  // "prf": positive random features; "trf": trigonometric ones.
  std::string feature_map = "prf";

  // Divide q and k by max(their L2 norm, 1e-12) per head and token.
  bool normalize = true;

  // Factor on q and k after the normalisation, before the projection.
  double scale = 1.0;

  // Token i sees tokens j <= i only.
  bool causal = false;

  // "auto" (the planner chooses; fails only for want of workspace), "direct", "reference", or one
  // that raises where it would miss the promise: "structured", "low_rank", "fft".
  std::string algorithm = "auto";

  // What an algorithm may take for one head of one sequence beside inputs, features and output; 0:
  // no limit. The CPU computes as many heads at once as it has threads, another device all of the
  // call. "auto" keeps to it and throws where nothing does; so does a forced algorithm, but for
  // "reference".
  int64_t workspace_bytes = 0;
};

// out_i = sum_j exp(b[j-i]) (phi(q_i) . phi(k_j)) v_j / sum_j exp(b[j-i]) (phi(q_i) . phi(k_j)),
// per sequence and head.
//
// q, k: [batch, n, heads, head_dim], or packed [tokens, heads, head_dim] with cu_seqlens. v:
// likewise, its head size may differ.
//   One dtype of float32, bfloat16, float16 (float64: algorithm "reference" or "auto", which then
//   is the same). The last dimension is contiguous. Empty batches and sequences are legal.
// projection: float32 [features, head_dim] or [heads, features, head_dim].
// bias: prepared with the same feature_map and causal as the options say.
// cu_seqlens: int32 [sequences + 1] on the tensors' device, from 0 to tokens, never descending;
// only with packed tensors. seqlens: the same lengths on the host; without them one copy is made.
//
// Returns v's shape and dtype: largest error relative to max|v| of a sequence, head and channel
// 1e-5 (float32), 1e-2 (bfloat16), 2e-3 (float16) for "prf". Products of signed features cancel, so
// for "trf" that times sum |c phi_r(q) phi_r(k)| / |denominator| of a row, over keys and features
// r.
at::Tensor RpeAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                        const at::Tensor& projection, const c10::intrusive_ptr<RelativeBias>& bias,
                        const std::optional<at::Tensor>& cu_seqlens,
                        at::OptionalIntArrayRef seqlens, const AttentionOptions& options);

// The same for images: q, k, v are [batch, height * width, heads, head_dim], tokens row by row of
// bias's grid. options.causal must be false.
at::Tensor RpeAttention2d(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                          const at::Tensor& projection,
                          const c10::intrusive_ptr<RelativeBias2d>& bias,
                          const AttentionOptions& options);

// What "auto" does in a call with this projection, normalisation, scale and workspace_bytes: JSON
// {"groups": [{"heads", "lengths", "algorithm", "reason", "error_bound", "predicted_ms"}]}.
// error_bound: of the largest error relative to max|v|; for "trf" times the sum above, and without
// the rounding of features and of an output in 16 bits. predicted_ms is made to choose by,
// not to be kept (docs/benchmarks.md).
// projection: as in RpeAttention; v's head size is taken to be q's. device: "cpu", or "cuda" once
// its library is loaded. dtype: "float32", "bfloat16", "float16", "float64". (The operator
// longwave::plan_attention can be called without a projection, too, and takes a typical one.)
std::string PlanAttention(const c10::intrusive_ptr<RelativeBias>& bias, at::IntArrayRef seqlens,
                          const at::Tensor& projection, bool normalize, double scale,
                          const std::string& device, const std::string& dtype,
                          int64_t workspace_bytes);

// The same for a grid. (The operator is longwave::plan_attention_2d.prepared.)
std::string PlanAttention2d(const c10::intrusive_ptr<RelativeBias2d>& bias,
                            const at::Tensor& projection, bool normalize, double scale,
                            const std::string& device, const std::string& dtype,
                            int64_t workspace_bytes);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_OPERATORS_H_
