#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_BLOCKS_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_BLOCKS_CUH_

#include "model/attention/cuda/device_types.cuh"
#include "model/attention/cuda/structured/kernels.h"

namespace longwave::attention::cuda {

// A block of tokens of one sequence.
struct BlockPosition {
  int first = 0;   // its first token, in the packed tensors
  int rows = 0;    // tokens in it; 0: the slot is empty, or not this launch's
  int index = 0;   // within the sequence
  int blocks = 0;  // of the sequence
  int length = 0;  // tokens of the sequence
};

__device__ inline BlockPosition Locate(const SequenceView& sequences, int slot) {
  int begin, length, index;
  if (sequences.cu_seqlens == nullptr) {
    const int per_sequence = (sequences.length + kBlock - 1) / kBlock;
    begin = slot / per_sequence * sequences.length;
    index = slot % per_sequence;
    length = sequences.length;
  } else {
    // The last sequence whose first slot is not after this one.
    int low = 0, high = sequences.count;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      (sequences.cu_seqlens[middle] / kBlock + middle <= slot ? low : high) = middle;
    }
    begin = sequences.cu_seqlens[low];
    length = sequences.cu_seqlens[low + 1] - begin;
    index = slot - (begin / kBlock + low);
  }
  BlockPosition position;
  if (index * kBlock >= length || !Takes(sequences, length)) return position;
  position.first = begin + index * kBlock;
  position.rows = min(kBlock, length - index * kBlock);
  position.index = index;
  position.blocks = (length + kBlock - 1) / kBlock;
  position.length = length;
  return position;
}

// The part of a head's direct tiles whose key block exists, for query block `index`.
struct DirectRange {
  int begin;
  int end;
};

__device__ inline DirectRange DirectTilesOf(const PlanView& plan, const HeadPlan& head,
                                            const BlockPosition& position) {
  DirectRange range{head.direct_begin, head.direct_end};
  while (range.begin < range.end && plan.offsets[range.begin] < -position.index) ++range.begin;
  while (range.end > range.begin &&
         plan.offsets[range.end - 1] >= position.blocks - position.index) {
    --range.end;
  }
  return range;
}

// Whether a denominator is far inside float32's range: what products below it can amount to, ten
// million times over. NaN fails.
__device__ inline bool Trusted(float denominator, int length, int features) {
  return denominator >= 1e7F * 1e-36F * static_cast<float>(length) * static_cast<float>(features) &&
         denominator <= 1e37F;
}

__device__ inline void MarkDoubt(const StructuredArgs& args, int64_t token, int head) {
  args.doubt_rows[atomicAdd(args.doubt_count, 1)] = token * args.heads + head;
}

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_BLOCKS_CUH_
