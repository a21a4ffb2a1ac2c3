#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_DEVICE_PLAN_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_DEVICE_PLAN_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/attention/cuda/structured/plan.h"
#include "model/attention/problem.h"
#include "model/attention/structured/chunk_basis.h"
#include "model/attention/structured/table_structure.h"

namespace longwave::attention::cuda {

// A TableStructure, cut for chunks of 64 tokens, in blocks of kBlock: the tile at block offset E
// covers the chunk offsets 2 E - 1 to 2 E + 1. It stays with a term only if all three do.
struct BlockStructure {
  std::vector<int32_t> direct;  // block offsets of direct tiles, ascending
  std::vector<StateGroup> groups;
  std::vector<float> key_factors;    // [groups][kBlock]
  std::vector<float> query_factors;  // the same
  std::vector<StateWindow> windows;
  FarMix mix;

  // basis: of the smooth terms in blocks, which become the mix; of rank 0: each is a group.
  explicit BlockStructure(const TableStructure& structure, const ChunkBasis& basis = {});

  // Direct tiles of a query block in the middle of n tokens.
  int64_t DirectTiles(int64_t n) const;

  // Whether the direct tiles lie side by side, kMaxSpan at most: as the walk of queries needs them.
  bool Neighbours() const;

 private:
  void AddGroup(const StateGroup& group, const std::vector<double>& key,
                const std::vector<double>& query);
};

// The smooth terms, counted in blocks.
std::vector<FarTerm> SmoothBlockTerms(const TableStructure& structure);

// The block structures of all heads of a table on one device. Immutable.
class DevicePlan {
 public:
  struct Head {
    const TableStructure* structure = nullptr;  // null: an empty plan, which must not be launched
    ChunkBasis basis;                           // as BlockStructure has it
  };
  DevicePlan(const PositionBias& bias, const std::vector<Head>& heads, const at::Device& device);

  const PlanView& view() const { return view_; }

 private:
  std::vector<at::Tensor> arrays_;  // on the device; what view_ points at
  PlanView view_;
};

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_DEVICE_PLAN_H_
