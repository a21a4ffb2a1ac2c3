#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_STRIP_SUMS_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_STRIP_SUMS_H_

#include <cstddef>

#include "model/attention/structured/block_arrays.h"
#include "model/attention/structured/threading.h"

namespace longwave::attention {

// Adds what the keys in the two strips along an axis give to every query, to the arrays' sums.
//
// Lines, the rows (horizontal strips) or columns of blocks, have a state each. A block's lines of
// queries meet the near lines of a block farther along: those combine, by distance across, to one
// sum for each line of queries, and a sweep along the axis adds the blocks up.
void AddStrips(const ChunkShape& shape, const GridStructure& structure, Axis axis,
               const BlockArrays& arrays, Threading threading);

// Floats that so many threads take for it.
std::size_t StripFloats(const ChunkShape& shape, const GridStructure& structure, Axis axis,
                        int threads);

// Floating-point operations of it.
double StripFlop(const ChunkShape& shape, const GridStructure& structure, Axis axis);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_STRIP_SUMS_H_
