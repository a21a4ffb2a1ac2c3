#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_PLAN_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_PLAN_H_

#include <optional>

#include "model/attention/cuda/direct_fused.h"
#include "model/attention/problem.h"

namespace longwave::attention::cuda {

// The fastest layout for a call, or nothing where the fused kernel cannot compute it or tiles in
// device memory take less time. args: of the part of the problem that is solved, on the current
// device, which has so many multiprocessors.
std::optional<FusedPlan> PlanFused(const Problem& problem, const AttentionArgs& args,
                                   int multiprocessors);

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_PLAN_H_
