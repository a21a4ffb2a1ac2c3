#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_LINE_KERNELS_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_LINE_KERNELS_H_

#include <cstddef>

#include "model/attention/structured/chunk_kernels.h"

namespace longwave::attention {

// The tokens of one line (row or column) of a block of a grid, by their places in the block's
// tiles: first, first + step, ...
struct Line {
  int first = 0;
  int step = 1;
  int tokens = 0;
};

// Some of the features, which a state of theirs covers: `count`, a multiple of 16, from `begin` on.
struct FeatureSlice {
  int begin = 0;
  int count = 0;

  // Floats of a state: sums of phi v [count][value_pad], then sums of phi.
  std::size_t state_size(const ChunkShape& shape) const {
    return static_cast<std::size_t>(count) * shape.value_pad + count;
  }
};

// Tiles, pointers and threads as in chunk_kernels.h.

// state = sum over the line's keys j of factor[j] phi(k_j) [v_j | 1], j their places in the tiles.
// factor: [kChunk], or null for 1.
void LineState(const ChunkShape& shape, const Line& line, const FeatureSlice& slice,
               const float* phi_k, const float* values, const float* factor, float* state);

// sums[i] += sum_j weights[i * weights_stride + j] states[j], for `lines` sums and as many states
// of `size` floats (a multiple of 16) each.
void CombineStates(int lines, const float* weights, std::size_t weights_stride, const float* states,
                   std::size_t size, float* sums);

// out[i] += factor[i] phi(q_i) . state and den[i] likewise, for the line's queries. factor: as
// above.
void LineProduct(const ChunkShape& shape, const Line& line, const FeatureSlice& slice,
                 const float* phi_q, const float* state, const float* factor, float* out,
                 float* den);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_LINE_KERNELS_H_
