#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_CORNER_SUMS_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_CORNER_SUMS_H_

#include <cstddef>

#include "model/attention/structured/block_arrays.h"
#include "model/attention/structured/threading.h"

namespace longwave::attention {

// Adds what the keys in the four corners give to every query, to the arrays' sums: a state for each
// block, summed along the rows of blocks and then along their columns.
// memory: CornerFloats, 64-byte aligned.
void AddCorners(const ChunkShape& shape, const GridStructure& structure, const BlockArrays& arrays,
                Threading threading, float* memory);

std::size_t CornerFloats(const ChunkShape& shape, const GridStructure& structure);

// Floating-point operations of it.
double CornerFlop(const ChunkShape& shape, const GridStructure& structure);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_CORNER_SUMS_H_
