#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_TILES_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_TILES_CUH_

#include "model/attention/cuda/mma.cuh"
#include "model/attention/cuda/structured/blocks.cuh"

// What the tensor-core kernels share: tiles of bfloat16 rows of 128 bytes in shared memory and in
// the workspace. The 16-byte piece p of row r is stored as piece p ^ (r % 8): eight rows cover all
// banks, and wgmma reads it as its 128-byte swizzle.
namespace longwave::attention::cuda {

using bf16 = __nv_bfloat16;

inline constexpr int kPieces = kMmaSize / 8;  // of a row

// Where a piece lies, in elements.
__device__ inline int PieceOf(int row, int piece) { return row * kMmaSize + (piece ^ row % 8) * 8; }

// Begins to copy rows of a token tensor, zeros beyond `rows` and `columns`.
template <int kRows, int kThreads>
__device__ inline void CopyTokens(bf16* tile, const TokenView& view, int head, int64_t first,
                                  int rows, int columns) {
  const bf16* const from =
      static_cast<const bf16*>(view.data) + first * view.token_stride + head * view.head_stride;
#pragma unroll
  for (int c = static_cast<int>(threadIdx.x); c < kRows * kPieces; c += kThreads) {
    const int row = c / kPieces, piece = c % kPieces;
    const bool valid = row < rows && piece * 8 < columns;
    CopyAsync16(tile + PieceOf(row, piece),
                from + (valid ? row * view.token_stride + piece * 8 : 0), valid);
  }
}

// Begins to copy 16-byte pieces as they lie.
template <int kThreads>
__device__ inline void CopyBytes(void* to, const void* from, int bytes) {
  for (int c = static_cast<int>(threadIdx.x); c < bytes / 16; c += kThreads) {
    CopyAsync16(static_cast<uint4*>(to) + c, static_cast<const uint4*>(from) + c, true);
  }
}

// W as the sum of two tiles [feature][dim]. Returns whether a row of this thread's is longer than
// max_norm. W: rows of whole 16-byte pieces.
template <int kThreads>
__device__ inline bool LoadProjection(const AttentionArgs& args, int head, float max_norm,
                                      bf16* high, bf16* low) {
  bool too_long = false;
#pragma unroll
  for (int c = static_cast<int>(threadIdx.x); c < kMmaSize * kPieces; c += kThreads) {
    const int feature = c / kPieces, piece = c % kPieces;
    float w[8] = {};
    if (feature < args.features && piece * 8 < args.dim) {
      const float4* const row =
          reinterpret_cast<const float4*>(args.projection + head * args.projection_head_stride +
                                          feature * args.projection_row_stride + piece * 8);
      *reinterpret_cast<float4*>(w) = row[0];
      *reinterpret_cast<float4*>(w + 4) = row[1];
    }
    uint32_t top[4], rest[4];
    float square = 0;
#pragma unroll
    for (int p = 0; p < 4; ++p) {
      const float x = w[2 * p], y = w[2 * p + 1];
      square += x * x + y * y;
      top[p] = PackBf16(x, y);
      const float2 rounded = UnpackBf16(top[p]);
      rest[p] = PackBf16(x - rounded.x, y - rounded.y);
    }
    *reinterpret_cast<uint4*>(high + PieceOf(feature, piece)) = {top[0], top[1], top[2], top[3]};
    *reinterpret_cast<uint4*>(low + PieceOf(feature, piece)) = {rest[0], rest[1], rest[2], rest[3]};
    // The pieces of a row lie with eight neighbouring lanes.
    square += __shfl_xor_sync(~0U, square, 1);
    square += __shfl_xor_sync(~0U, square, 2);
    square += __shfl_xor_sync(~0U, square, 4);
    too_long |= !(square <= max_norm * max_norm);
  }
  return too_long;
}

// y = factor x for a token with this |x|^2. NaN beyond float32's range, so that the row is found.
__device__ inline float TokenFactor(const AttentionArgs& args, float square) {
  if (!(square < 1e37F)) return __int_as_float(0x7fffffff);
  const float scale = static_cast<float>(args.scale);
  return args.normalize ? scale / fmaxf(sqrtf(square), 1e-12F) : scale;
}

// w_f . y of 16 tokens as the accumulators of a 16 x kMmaSize product, and |y|^2 / 2 of rows l / 4
// and l / 4 + 8. rows: the tile, whose rows [first, first + 16) are taken.
__device__ inline void LogFeatures(const AttentionArgs& args, const bf16* rows, int first,
                                   const bf16* high, const bf16* low, float (&log)[kMmaSize / 8][4],
                                   float (&half_square)[2]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (auto& tile : log) tile[0] = tile[1] = tile[2] = tile[3] = 0;
  float square[2] = {0, 0};
#pragma unroll
  for (int k = 0; k < kMmaSize / 16; ++k) {
    uint32_t x[4];
    LoadTiles(x, rows + PieceOf(first + lane % 16, 2 * k + lane / 16));
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const float2 pair = UnpackBf16(x[r]);
      square[r % 2] += pair.x * pair.x + pair.y * pair.y;
    }
#pragma unroll
    for (int f = 0; f < kMmaSize / 16; ++f) {
      const int offset = PieceOf(f * 16 + lane % 8 + lane / 16 * 8, 2 * k + lane / 8 % 2);
      uint32_t w[4];
      LoadTiles(w, high + offset);
      MultiplyAdd(log[2 * f], x, w[0], w[1]);
      MultiplyAdd(log[2 * f + 1], x, w[2], w[3]);
      LoadTiles(w, low + offset);
      MultiplyAdd(log[2 * f], x, w[0], w[1]);
      MultiplyAdd(log[2 * f + 1], x, w[2], w[3]);
    }
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    square[half] += __shfl_xor_sync(~0U, square[half], 1);
    square[half] += __shfl_xor_sync(~0U, square[half], 2);
    const float factor = TokenFactor(args, square[half]);
    half_square[half] = 0.5F * square[half] * factor * factor;
#pragma unroll
    for (auto& tile : log) {
      tile[2 * half] *= factor;
      tile[2 * half + 1] *= factor;
    }
  }
}

// A query block and what belongs to it.
struct QueryBlock {
  const StructuredArgs& args;
  BlockPosition position;
  HeadPlan plan;
  int local_head;
  int head;
  int slot;

  __device__ QueryBlock(const StructuredArgs& args, int slot, int local_head)
      : args(args),
        position(Locate(args.base.sequences, slot)),
        plan(args.plan.heads[args.base.head_begin + local_head]),
        local_head(local_head),
        head(args.base.head_begin + local_head),
        slot(slot) {}

  // phi(k) of the block `offset` away, and its scanned state.
  __device__ const bf16* Keys(int offset) const {
    const int64_t place = static_cast<int64_t>(local_head) * args.slots + slot + offset;
    return static_cast<const bf16*>(args.features_k) + place * kBlock * kMmaSize;
  }
  __device__ const bf16* Sums(int group) const {
    const int64_t place = static_cast<int64_t>(local_head) * args.slots + slot;
    return static_cast<const bf16*>(args.sums) +
           (place * args.plan.max_groups + group - plan.group_begin) * kMmaState;
  }

  // Whether a group has anything to give to this block.
  __device__ bool Reached(const StateGroup& group) const {
    const int b = position.index;
    return (group.left_nearest > 0 && b >= group.left_nearest) ||
           (group.right_nearest > 0 && b + group.right_nearest < position.blocks) ||
           (!group.weighted && plan.window_end > plan.window_begin);
  }

  // Keys of the block `offset` away that exist.
  __device__ int KeysOf(int offset) const {
    return min(kBlock, position.length - (position.index + offset) * kBlock);
  }
};

// Copies a finished tile to the rows of the output.
template <int kThreads>
__device__ inline void WriteOutput(const QueryBlock& block, const bf16* tile) {
  const AttentionArgs& base = block.args.base;
  bf16* const out = static_cast<bf16*>(base.out.data) +
                    block.position.first * base.out.token_stride +
                    block.head * base.out.head_stride;
#pragma unroll
  for (int c = static_cast<int>(threadIdx.x); c < kBlock * kPieces; c += kThreads) {
    const int row = c / kPieces, piece = c % kPieces;
    if (row < block.position.rows && piece * 8 < base.value_dim) {
      *reinterpret_cast<uint4*>(out + row * base.out.token_stride + piece * 8) =
          *reinterpret_cast<const uint4*>(tile + PieceOf(row, piece));
    }
  }
}

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_TILES_CUH_
