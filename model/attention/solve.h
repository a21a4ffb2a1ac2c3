#ifndef LONGWAVE_MODEL_ATTENTION_SOLVE_H_
#define LONGWAVE_MODEL_ATTENTION_SOLVE_H_

#include <ATen/core/Tensor.h>

#include <string_view>

#include "model/attention/problem.h"

namespace longwave::attention {

// Allowed error of float32, bfloat16 or float16 results, as a share of max|v|.
double PromisedError(at::ScalarType dtype);

// Solves a problem on its tensors' device by the named algorithm, or by those the planner chooses
// ("auto"), and writes problem.out. Throws c10::Error on an unknown name, on float64 with an
// algorithm that computes in float32, where a forced algorithm would miss the tolerance or
// problem.workspace_bytes, and where no algorithm keeps to the latter.
void Solve(const Problem& problem, std::string_view algorithm);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_SOLVE_H_
