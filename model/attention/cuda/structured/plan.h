#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_PLAN_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_PLAN_H_

#include <cstdint>

// A table's structure as the kernels read it, in plain types. Tokens are cut into blocks of kBlock.
// The tile at block offset E = key block - query block holds the distances from kBlock E - (kBlock
// - 1) to kBlock E + (kBlock - 1): it is computed directly, or belongs to terms that meet the query
// through sums of block states phi(k)^T [v | 1], or is nothing.
namespace longwave::attention::cuda {

inline constexpr int kBlock = 128;
inline constexpr int kTileWeights = 2 * kBlock;  // floats kept for a direct tile

// Direct tiles of a head that the walk of queries keeps: neighbours, no more than these.
inline constexpr int kMaxSpan = 3;

// Terms that share one state. Constants: the open run on either side, and the head's windows. An
// exponential: one side; keys of a block are weighted by decay[j], rows by decay[kBlock - 1 - i] on
// the right, mirrored on the left.
struct StateGroup {
  int32_t exponential = 0;
  int32_t left_nearest = 0;   // blocks b - left_nearest and before it; 0: none
  int32_t right_nearest = 0;  // blocks b + right_nearest and after it; 0: none
  float left_enter = 0;       // factor of a block's state when it joins the sum
  float right_enter = 0;
  float rate = 0;  // the sum decays by exp(-rate * kBlock) a block
};

// A bounded constant run: blocks b + begin to b + end - 1.
struct StateWindow {
  int32_t begin = 0;
  int32_t end = 0;
  float amplitude = 0;
};

// Ranges of a head in the arrays below.
struct HeadPlan {
  int32_t direct_begin = 0, direct_end = 0;
  int32_t last_offset = 0;  // of the last direct tile
  int32_t group_begin = 0, group_end = 0;
  int32_t window_begin = 0, window_end = 0;  // of its constants
};

// All heads of a table, on the device.
struct PlanView {
  const HeadPlan* heads = nullptr;
  const int32_t* offsets = nullptr;  // of direct tiles, ascending within a head
  const float* weights = nullptr;    // [direct tiles][kTileWeights]: exp(b - reference) of distance
                                     // kBlock E + d at d + kBlock - 1
  const StateGroup* groups = nullptr;
  const float* decays = nullptr;  // [groups][kBlock]: exp(-rate j), 1 for constants
  const StateWindow* windows = nullptr;
  int32_t max_groups = 0;  // of a head
  bool constant = true;    // no exponentials and no windows: one group a head
  bool neighbours = true;  // every head's direct tiles lie side by side, kMaxSpan at most
};

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_PLAN_H_
