#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_ITEMS_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_ITEMS_CUH_

#include "model/attention/cuda/direct_tiles.cuh"

// The rows that a launch of the fused kernel computes, as items of one sequence each: all of a
// sequence of up to `whole` tokens, of longer ones `rows` at a time.
namespace longwave::attention::cuda::fused {

// Finds items of ascending numbers. Every lane of a warp holds the same.
class ItemCursor {
 public:
  __device__ ItemCursor(const SequenceView& sequences, int whole, int rows)
      : sequences_(sequences), whole_(whole), rows_(rows) {}

  // The item of this number, or an invalid one past the last. By a warp.
  __device__ SequenceTile Find(int index) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    for (; first_ < sequences_.count; first_ += 32) {
      Span span{0, 0};
      if (first_ + lane < sequences_.count) span = SpanOf(sequences_, first_ + lane);
      const int items = Items(span.length());
      int sum = items;
#pragma unroll
      for (int step = 1; step < 32; step *= 2) {
        const int other = __shfl_up_sync(~0u, sum, step);
        if (lane >= step) sum += other;
      }
      const uint32_t past = __ballot_sync(~0u, before_ + sum > index);
      if (past != 0) {
        const int owner = __ffs(static_cast<int>(past)) - 1;
        const int begin = __shfl_sync(~0u, span.begin, owner);
        const int length = __shfl_sync(~0u, span.length(), owner);
        const int item = index - before_ - __shfl_sync(~0u, sum - items, owner);
        return {first_ + owner, begin, length, item * rows_, true};
      }
      before_ += __shfl_sync(~0u, sum, 31);
    }
    return {0, 0, 0, 0, false};
  }

 private:
  __device__ int Items(int length) const {
    if (length == 0 || !Takes(sequences_, length)) return 0;
    return length <= whole_ ? 1 : (length + rows_ - 1) / rows_;
  }

  const SequenceView& sequences_;
  const int whole_;
  const int rows_;
  int first_ = 0;   // of the 32 sequences that are looked at
  int before_ = 0;  // items of sequences before those
};

}  // namespace longwave::attention::cuda::fused

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_FUSED_ITEMS_CUH_
