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

// Terms that share one state, to which keys and rows of a block come with a factor by their place
// (PlanView). Constants: the open run on either side, and the head's windows, factors of 1. An
// exponential: one side. One function of a head's smooth far field (FarMix): both sides.
struct StateGroup {
  int32_t weighted = 0;       // factors are not 1
  int32_t mixed = 0;          // of the FarMix: no sums of its own
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

// The smooth far field of a head: a few functions of the place in a block, the head's groups from
// `first` on, and on either side exponentials that carry their states from block to block,
//   z[r] = decay[r] z[r] + sum over k of in[r][k] state k of the block `nearest` further,
//   sum k = sum over r of out[r][k] z[r].
// Unused numbers are 0.
inline constexpr int kMaxRank = 8, kMaxRates = 16;
struct FarMix {
  struct Side {
    int32_t nearest = 0;  // 0: nothing on this side
    float decay[kMaxRates] = {};
    alignas(16) float in[kMaxRates][kMaxRank] = {};
    alignas(16) float out[kMaxRates][kMaxRank] = {};
  };
  int32_t first = 0;  // of the head's groups
  int32_t rank = 0;   // 0: none
  Side right, left;
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
  const float* key_factors = nullptr;    // [groups][kBlock]
  const float* query_factors = nullptr;  // the same
  const FarMix* mixes = nullptr;         // [heads]
  const StateWindow* windows = nullptr;
  int32_t max_groups = 0;               // of a head
  int32_t max_rank = 0, max_rates = 0;  // of a FarMix
  bool all_mixed = false;               // every group is of a FarMix
  bool constant = true;                 // no exponentials and no windows: one group a head
  bool neighbours = true;  // every head's direct tiles lie side by side, kMaxSpan at most
};

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_PLAN_H_
