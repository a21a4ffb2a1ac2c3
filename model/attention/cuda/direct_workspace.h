#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_WORKSPACE_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_WORKSPACE_H_

#include <ATen/core/Tensor.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/attention/cuda/direct_tiles.h"
#include "model/attention/problem.h"

namespace longwave::attention::cuda {

// Panels of so many columns.
inline int32_t Panels(int64_t columns) {
  return static_cast<int32_t>((columns + kPanelColumns - 1) / kPanelColumns);
}

// Bytes of the operands of one head.
int64_t OperandBytes(const Problem& problem);

// The largest exponent of features that are written as they are: exp(-87) is float32's least.
inline constexpr double kMaxUnshiftedExponent = 60;

// Whether features may lie so far apart that float32 would lose them as zeros: then the largest of
// each over the keys is taken off before they are written (DirectOperands::key_maxima).
bool ShiftsFeatures(const Problem& problem);

// The memory behind a DirectArgs: operands, and the list of doubtful rows, empty so far.
class DirectWorkspace {
 public:
  // args.attention is set; sets the operands and the list for its heads.
  DirectWorkspace(const Problem& problem, DirectArgs& args);

  // Gives the operands' memory to whatever is queued next.
  void ReleaseOperands();

  // Computes the rows that were listed.
  void Repair(const DirectArgs& args, cudaStream_t stream) const;

 private:
  at::Tensor tiles_, key_maxima_, doubtful_count_, doubtful_rows_;
};

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_WORKSPACE_H_
