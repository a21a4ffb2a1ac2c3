#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_BLOCK_ATTENTION_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_BLOCK_ATTENTION_H_

#include "model/attention/structured/chunked_attention.h"
#include "model/attention/structured/grid_structure.h"

namespace longwave::attention {

// Linear-time attention of one head of a grid by the structure of its table: the box by direct
// tiles, the strips by states of the blocks' rows and columns, the corners by states of the blocks.
// The input holds the grid's tokens row by row. Otherwise as ChunkedAttention.
bool BlockAttention(const HeadProblem& problem, const GridStructure& structure);

// What BlockAttention does, for predictions.
struct BlockWork {
  double tile_flop = 0;       // of 64-token tiles: features, box, corners
  double line_flop = 0;       // of rows and columns of blocks
  std::size_t states = 0;     // floats of the blocks' tiles and states
  std::size_t workspace = 0;  // floats in all
};
BlockWork WorkOf(const ChunkShape& shape, const GridStructure& structure);

// Floats that its threads take beside the workspace.
std::size_t ScratchFloats(const ChunkShape& shape, const GridStructure& structure, int threads);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_BLOCK_ATTENTION_H_
