#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_DEVICE_PLAN_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_DEVICE_PLAN_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/attention/cuda/structured/plan.h"
#include "model/attention/problem.h"
#include "model/attention/structured/table_structure.h"

namespace longwave::attention::cuda {

// A TableStructure, cut for chunks of 64 tokens, in blocks of kBlock: the tile at block offset E
// covers the chunk offsets 2 E - 1 to 2 E + 1. It stays with a term only if all three do.
struct BlockStructure {
  std::vector<int32_t> direct;  // block offsets of direct tiles, ascending
  std::vector<StateGroup> groups;
  std::vector<StateWindow> windows;

  explicit BlockStructure(const TableStructure& structure);

  // Direct tiles of a query block in the middle of n tokens.
  int64_t DirectTiles(int64_t n) const;

  // Whether the direct tiles lie side by side, kMaxSpan at most: as the walk of queries needs them.
  bool Neighbours() const;
};

// The block structures of all heads of a table on one device. Immutable.
class DevicePlan {
 public:
  // smooth: with the smooth far field of those heads that have one. Heads without a structure have
  // an empty plan and must not be launched.
  DevicePlan(const PositionBias& bias, int64_t heads, bool smooth, const at::Device& device);

  const PlanView& view() const { return view_; }

 private:
  std::vector<at::Tensor> arrays_;  // on the device; what view_ points at
  PlanView view_;
};

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_DEVICE_PLAN_H_
