#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_H_

#include <cuda_runtime_api.h>

#include "model/attention/cuda/direct_tiles.h"

// The direct algorithm in one kernel for short sequences of bfloat16: features are computed where
// they are used, so that there are no operands in device memory and nothing is launched twice.
namespace longwave::attention::cuda {

// How a thread block is laid out. Its warpgroups are row_groups x key_groups: each holds 64 rows,
// and takes every key_groups-th tile of keys. It takes its rows in `passes` turns.
struct FusedLayout {
  int row_groups = 1;
  int key_groups = 4;
  int passes = 1;  // 2: only where a sequence fits into the stages, 512 tokens

  int rows() const { return 64 * row_groups * passes; }
};

// Whether the current device and the library can compute a call: sm_90a, prf with normalised
// features, bfloat16, up to 64 channels and features, rows of whole 16-byte pieces.
bool FusedServes(const AttentionArgs& args);

// Longest sequence of a layout.
int FusedMaxLength(const FusedLayout& layout);

// How a launch is made.
struct FusedPlan {
  FusedLayout layout;
  int longest = 0;  // sequence, FusedMaxLength at most; longer ones are computed in float64, slowly
  int blocks = 0;   // an upper bound on the blocks of rows of all sequences of the launch
};

// Only attention and maxima of args are read.
cudaError_t LaunchDirectFused(const DirectArgs& args, const FusedPlan& plan, cudaStream_t stream);

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_H_
