#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_PROBLEM_ARGS_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_PROBLEM_ARGS_H_

#include "model/attention/cuda/attention_args.h"
#include "model/attention/problem.h"

namespace longwave::attention::cuda {

// A part of a problem as kernels read it. The pointers belong to the problem's tensors and to the
// table's DeviceCache, which outlives the call. The first call for a table and a device uploads the
// table, which is an error while a graph is being captured.
AttentionArgs MakeArgs(const Part& part);

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_PROBLEM_ARGS_H_
