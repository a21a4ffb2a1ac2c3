#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_SEPARABLE_ATTENTION_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_SEPARABLE_ATTENTION_H_

#include <cstddef>

#include "model/attention/structured/chunked_attention.h"
#include "model/attention/structured/separable_structure.h"

namespace longwave::attention {

// Attention of one head of a grid whose table is a sum over its axes: for each feature, phi(k) v^T
// is multiplied by the weights along the rows and then by those along the columns, as dense
// matrices. Time: (height + width) features value_dim for each token. Otherwise as BlockAttention.
bool SeparableAttention(const HeadProblem& problem, const SeparableStructure& structure);

// What it does, for predictions.
double SeparableFlop(const ChunkShape& shape, const SeparableStructure& structure);
std::size_t SeparableFloats(const ChunkShape& shape, const SeparableStructure& structure);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_SEPARABLE_ATTENTION_H_
