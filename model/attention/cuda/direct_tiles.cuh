#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_TILES_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_TILES_CUH_

#include <cmath>

#include "model/attention/cuda/device_types.cuh"
#include "model/attention/cuda/direct_tiles.h"
#include "model/attention/cuda/mma.cuh"

namespace longwave::attention::cuda {

// A tile of `rows` consecutive rows of one sequence.
struct SequenceTile {
  int sequence;
  int token_begin;  // of the sequence
  int length;       // of the sequence
  int row;          // the tile's first, within the sequence
  bool valid;       // false: the tile lies past the sequence's end, or is not this launch's
};

// Number of the first tile of a sequence when every sequence begins a new one: at least as far from
// the previous one as that one's tiles.
__host__ __device__ inline int FirstTile(int token_begin, int sequence, int rows) {
  return (token_begin + sequence * rows) / rows;
}

// Tiles of all sequences, those past a sequence's end included.
inline int TileCount(const SequenceView& sequences, int rows) {
  return static_cast<int>(sequences.tokens / rows) + sequences.count;
}

__device__ inline SequenceTile FindTile(const SequenceView& sequences, int tile, int rows) {
  int low = 0, high = sequences.count;  // FirstTile(low) <= tile < FirstTile(high)
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (FirstTile(SpanOf(sequences, middle).begin, middle, rows) <= tile ? low : high) = middle;
  }
  const Span span = SpanOf(sequences, low);
  const int row = (tile - FirstTile(span.begin, low, rows)) * rows;
  return {low, span.begin, span.length(), row,
          row < span.length() && Takes(sequences, span.length())};
}

// The padded row at which a sequence begins.
__device__ inline int64_t PaddedBegin(const SequenceTile& tile) {
  return static_cast<int64_t>(FirstTile(tile.token_begin, tile.sequence, kTileRows)) * kTileRows;
}

// A panel's first row of one head (counted from the launch's first).
__device__ inline char* PanelOf(const DirectOperands& operands, const TileOperand& operand,
                                int part, int head, int panel) {
  const int64_t index =
      (static_cast<int64_t>(part) * operands.heads + head) * operand.panels + panel;
  return operand.data + index * operands.rows * kPanelRowBytes;
}

// Byte of the 16-byte chunk `chunk` of a row, from the panel's first byte.
__device__ inline int SwizzledByte(int row, int chunk) {
  return row * kPanelRowBytes + ((chunk ^ (row & 7)) << 4);
}

// Two numbers in bfloat16, and takes them off: the next part is what remains.
__device__ inline uint32_t TakePart(float& low, float& high) {
  const uint32_t packed = PackBf16(low, high);
  low -= __uint_as_float(packed << 16);
  high -= __uint_as_float(packed & 0xffff0000u);
  return packed;
}

// What a tile of rows subtracts from b: the largest that any of its rows can reach.
__device__ inline float ShiftOf(const DirectArgs& args, int head, const SequenceTile& tile,
                                int rows) {
  const RunningMaxima& maxima = args.maxima;
  const int64_t first = static_cast<int64_t>(head) * maxima.length;
  const int last_row = min(tile.row + rows, tile.length) - 1;
  const float left = maxima.left[first + min(last_row, maxima.length - 1)];
  const int ahead = args.attention.bias.causal ? 0 : tile.length - 1 - tile.row;
  return fmaxf(left, maxima.right[first + min(ahead, maxima.length - 1)]);
}

// Whether float32 has lost too much of a sum of so many products.
__device__ inline bool Doubtful(float denominator, const DirectArgs& args, int length) {
  const float tiny = 1e7f * 1.17549435e-38f * static_cast<float>(length) *
                     static_cast<float>(kPanelColumns * args.operands.k.panels);
  return !(fabsf(denominator) >= tiny && fabsf(denominator) <= 3e38f);
}

__device__ inline void MarkDoubtful(const DirectArgs& args, int token, int head) {
  const int at = atomicAdd(args.doubtful_count, 1);
  args.doubtful_rows[at] = static_cast<int64_t>(token) * args.tensor_heads + head;
}

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_TILES_CUH_
