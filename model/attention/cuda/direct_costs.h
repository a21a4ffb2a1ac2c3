#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_COSTS_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_COSTS_H_

#include <cstdint>
#include <optional>
#include <span>

#include "model/attention/cost_constants.h"
#include "model/attention/cuda/direct_fused.h"

// What the two ways of the direct algorithm take: the planner predicts by it, and a call chooses.
namespace longwave::attention::cuda {

// Sequences of one length, each counted once for every head that is computed.
struct EqualSequences {
  int64_t length = 0;
  int64_t count = 0;
};

// What they are made of.
struct DirectWidths {
  int64_t features = 64;  // of phi, padded to what the tensor cores take
  int64_t values = 64;    // padded to panels
  int64_t parts = 1;      // of a number
  int64_t products = 1;   // of parts, for every product
  bool causal = false;
};

// Milliseconds by tiles in device memory, beside what a call costs. hopper: by warpgroups.
double TilesMilliseconds(std::span<const EqualSequences> sequences, const DirectWidths& widths,
                         bool hopper, const CostConstants& costs);

// The layout of the fused kernel that takes the least time.
struct FusedChoice {
  FusedLayout layout;
  double milliseconds = 0;
  double call_milliseconds = 0;  // of them, what the shortest call takes: one item, start to end
};

// Nothing where one of the sequences is longer than those for which it was measured to be fastest.
std::optional<FusedChoice> ChooseFusedLayout(std::span<const EqualSequences> sequences, bool causal,
                                             int multiprocessors, const CostConstants& costs);

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_COSTS_H_
