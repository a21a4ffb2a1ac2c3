#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_H_

#include <cuda_runtime_api.h>

#include "model/attention/cuda/direct_tiles.h"

// The direct algorithm in one kernel for short sequences of bfloat16: features are computed where
// they are used, so that there are no operands in device memory and nothing is launched twice.
namespace longwave::attention::cuda {

// How a thread block is laid out: `teams` teams of row_groups x key_groups warpgroups, four in all.
// A team takes items of one sequence each. A warpgroup holds 64 rows and takes every key_groups-th
// tile of 64 keys.
struct FusedLayout {
  int teams = 1;
  int row_groups = 1;
  int key_groups = 4;
  // 2, without key groups: a sequence of up to twice a team's rows is one item, whose phi(k) and v
  // are kept while its rows are computed in two passes.
  int passes = 1;

  int64_t rows() const { return 64 * row_groups; }
  int64_t whole() const { return passes * rows(); }
  int64_t items(int64_t length) const {
    return length <= whole() ? (length > 0 ? 1 : 0) : (length + rows() - 1) / rows();
  }
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
  int lanes = 0;    // blocks of a head; with key groups as many as the head has items, or more
};

// Only attention and maxima of args are read.
cudaError_t LaunchDirectFused(const DirectArgs& args, const FusedPlan& plan, cudaStream_t stream);

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_H_
