#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_KERNELS_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_KERNELS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/attention/cuda/attention_args.h"
#include "model/attention/cuda/structured/plan.h"

// The launches of the algorithms "structured" and "low_rank", in this order on one stream:
//
//   keys      phi(k) of every block and its states phi(k)^T [v | 1], one per group
//   scan      for every block the sums over the blocks that its far field is made of
//   queries   phi(q), the direct tiles and the product with the scanned states
//
// Two implementations share the plan and the scan: tensor cores with bfloat16 operands and float32
// sums (mma), and float32 throughout with float64 sums of states (simt). Blocks are counted in
// slots: block i of sequence s is slot begin(s) / kBlock + s + i, which never collide and need no
// prefix sums.
namespace longwave::attention::cuda {

struct StructuredArgs {
  AttentionArgs base;
  PlanView plan;
  int32_t heads = 0;  // of the tensors
  int32_t slots = 0;  // blocks that sequences may take: SlotCount

  // Workspace, by head counted from base.head_begin. State: bfloat16 (mma) or float (simt), a row
  // per feature with the padded value channels and then the sum of phi.
  void* features_k = nullptr;  // [heads][slots][kBlock][padded features], zero beyond a sequence
  void* features_q = nullptr;  // simt only, the same shape
  void* states = nullptr;      // [heads][slots][max_groups][state]
  void* sums = nullptr;        // the same shape

  // Rows whose result is in doubt: see RowList. `keys` clears the count.
  int32_t* doubt_count = nullptr;
  int64_t* doubt_rows = nullptr;  // [tokens * heads]
  float max_norm = 0;             // of a row of W; beyond, every row is in doubt
};

inline int32_t SlotCount(const SequenceView& sequences) {
  if (sequences.cu_seqlens == nullptr) {
    return sequences.count * ((sequences.length + kBlock - 1) / kBlock);
  }
  return static_cast<int32_t>(sequences.tokens / kBlock) + sequences.count;
}

// Sizes of the workspace rows of an implementation.
struct StateShape {
  int32_t features = 0;  // padded
  int32_t columns = 0;   // of a state, the sum of phi included
  constexpr int64_t size() const { return static_cast<int64_t>(features) * columns; }
};

// Tensor cores: bfloat16 inputs, head sizes and features of at most 64, multiples of 8, 16-byte
// aligned rows.
inline constexpr int kMmaSize = 64;
// A state is a swizzled tile (tiles.cuh) and the sums of phi.
inline constexpr int kMmaState = kMmaSize * kMmaSize + kMmaSize;
cudaError_t LaunchMmaKeys(const StructuredArgs& args, cudaStream_t stream);
cudaError_t LaunchMmaQueries(const StructuredArgs& args, cudaStream_t stream);

// The same by the instructions of sm_90a; cudaErrorNotSupported where the library was not compiled
// for it, and for what LaunchHopperKeys and LaunchHopperWalk have no tensor maps for. Walk: of
// plans whose direct tiles are neighbours.
cudaError_t LaunchHopperKeys(const StructuredArgs& args, cudaStream_t stream);
cudaError_t LaunchHopperWalk(const StructuredArgs& args, cudaStream_t stream);
cudaError_t LaunchHopperQueries(const StructuredArgs& args, cudaStream_t stream);

// Any dtype and size.
StateShape SimtState(int features, int value_dim);
cudaError_t LaunchSimtKeys(const StructuredArgs& args, cudaStream_t stream);
cudaError_t LaunchSimtQueries(const StructuredArgs& args, cudaStream_t stream);

// The part of LaunchScan that belongs to FarMixes: of the mma implementation only.
cudaError_t LaunchMixedScan(const StructuredArgs& args, cudaStream_t stream);

// Multiplications by coefficients that it makes for each element of a state in every block.
int MixedScanSteps(const FarMix& mix);

// Sums of states of `size` elements (an even number) over the far field. bf16: of the mma
// implementation. Where it can it works in place, and lets `sums` be `states`. A captured launch
// serves sequences up to the longest of its capture; the bf16 sums of longer ones may be NaN, which
// puts every row that reads them in doubt.
cudaError_t LaunchScan(StructuredArgs& args, int64_t size, bool bf16, cudaStream_t stream);

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_KERNELS_H_
