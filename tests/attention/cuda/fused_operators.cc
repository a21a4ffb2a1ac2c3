// Operators by which tests choose how the fused kernel of "direct" is laid out, and ask how a call
// would be.
#include <ATen/Functions.h>
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/library.h>

#include <optional>
#include <tuple>
#include <vector>

#include "model/attention/check.h"
#include "model/attention/cuda/direct_fused.h"
#include "model/attention/cuda/direct_fused_plan.h"
#include "model/attention/cuda/problem_args.h"
#include "model/attention/problem.h"
#include "model/attention/relative_bias.h"
#include "model/attention/sequence_bias.h"

namespace longwave::attention::cuda {
namespace {

using Bias = c10::intrusive_ptr<RelativeBias>;

// A packed call of normalised prf features, and what its kernels are given.
struct Call {
  Call(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& projection,
       const RelativeBias& table, const at::Tensor& cu_seqlens, at::IntArrayRef seqlens)
      : out(at::empty_like(v)), bias(table) {
    problem.q = q;
    problem.k = k;
    problem.v = v;
    problem.projection = projection.dim() == 2 ? projection.unsqueeze(0) : projection;
    problem.out = out;
    problem.sequences = CheckSequences(q, cu_seqlens, seqlens);
    problem.cu_seqlens = cu_seqlens;
    problem.bias = &bias;
    Part part;
    part.problem = &problem;
    part.head_end = problem.heads();
    args.attention = MakeArgs(part);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  const at::Tensor out;
  const SequenceBias bias;
  Problem problem;
  DirectArgs args;
};

// Teams, row groups, key groups, passes.
FusedLayout LayoutOf(at::IntArrayRef layout) {
  TORCH_CHECK(layout.size() == 4, "layout: found ", layout.size(), " numbers, expected 4");
  return {static_cast<int>(layout[0]), static_cast<int>(layout[1]), static_cast<int>(layout[2]),
          static_cast<int>(layout[3])};
}

int64_t MaxLength(at::IntArrayRef layout) { return FusedMaxLength(LayoutOf(layout)); }

// lanes: blocks of a head, which take its items in turn; where keys are split there must be one for
// each item, whatever is asked for.
at::Tensor DirectFused(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                       const at::Tensor& projection, const Bias& bias, const at::Tensor& cu_seqlens,
                       at::IntArrayRef seqlens, at::IntArrayRef layout, int64_t lanes) {
  const c10::cuda::CUDAGuard guard(q.device());
  Call call(q, k, v, projection, *bias, cu_seqlens, seqlens);
  // The largest b up to a distance.
  const int64_t edge = bias->table().size(1) / 2;
  const auto up_to = [&](const at::Tensor& side) {
    return std::get<0>(side.cummax(1)).contiguous().to(q.device());
  };
  const at::Tensor left = up_to(bias->table().narrow(1, 0, edge + 1).flip(1));
  const at::Tensor right = up_to(bias->table().narrow(1, edge, edge + 1));
  call.args.maxima = {left.const_data_ptr<float>(), right.const_data_ptr<float>(),
                      static_cast<int32_t>(edge + 1)};

  FusedPlan plan;
  plan.layout = LayoutOf(layout);
  plan.longest = call.args.attention.sequences.length;
  plan.lanes = static_cast<int>(lanes);
  if (plan.layout.key_groups > 1) {
    plan.lanes = static_cast<int>(q.size(0) / plan.layout.rows() +
                                  static_cast<int64_t>(call.problem.sequences.size()));
  }
  TORCH_CHECK(FusedServes(call.args.attention), "the fused kernel does not serve this call");
  TORCH_CHECK(plan.longest <= FusedMaxLength(plan.layout), "layout: found ", plan.longest,
              " tokens, expected at most ", FusedMaxLength(plan.layout));
  C10_CUDA_CHECK(LaunchDirectFused(call.args, plan, at::cuda::getCurrentCUDAStream()));
  return call.out;
}

// The layout that such a call of "direct" takes; empty where it takes tiles in device memory.
std::vector<int64_t> FusedLayoutOf(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   const at::Tensor& projection, const Bias& bias,
                                   const at::Tensor& cu_seqlens, at::IntArrayRef seqlens) {
  const c10::cuda::CUDAGuard guard(q.device());
  const Call call(q, k, v, projection, *bias, cu_seqlens, seqlens);
  const std::optional<FusedPlan> plan =
      PlanFused(call.problem, call.args.attention,
                at::cuda::getCurrentDeviceProperties()->multiProcessorCount);
  if (!plan.has_value()) return {};
  const FusedLayout& layout = plan->layout;
  return {layout.teams, layout.row_groups, layout.key_groups, layout.passes};
}

}  // namespace

TORCH_LIBRARY(longwave_tests, m) {
  m.def(
      "direct_fused(Tensor q, Tensor k, Tensor v, Tensor projection, "
      "__torch__.torch.classes.longwave.RelativeBias bias, Tensor cu_seqlens, int[] seqlens, "
      "int[] layout, int lanes) -> Tensor");
  m.def("fused_max_length(int[] layout) -> int", &MaxLength);
  m.def(
      "fused_layout(Tensor q, Tensor k, Tensor v, Tensor projection, "
      "__torch__.torch.classes.longwave.RelativeBias bias, Tensor cu_seqlens, int[] seqlens) -> "
      "int[]");
}

TORCH_LIBRARY_IMPL(longwave_tests, CUDA, m) {
  m.impl("direct_fused", &DirectFused);
  m.impl("fused_layout", &FusedLayoutOf);
}

}  // namespace longwave::attention::cuda
