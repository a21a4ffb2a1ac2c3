#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_CHUNK_BASIS_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_CHUNK_BASIS_H_

#include <cstdint>
#include <vector>

#include "model/attention/structured/chunk_kernels.h"
#include "model/attention/structured/far_term.h"

namespace longwave::attention {

// Few functions of the place in a chunk that all exponentials of a smooth far field are made of:
// seen from some chunks away, a chunk's keys differ in few ways. Orthonormal, the most important
// first. Other devices cut tokens into larger chunks: `chunk` tokens, which terms are then counted
// in.
struct ChunkBasis {
  int rank = 0;
  std::vector<double> keys;     // [rank][chunk]
  std::vector<double> queries;  // [rank][chunk]
  int64_t chunk = kChunk;

  // The `count` most important functions.
  ChunkBasis Leading(int count) const;
};

// What exp(-rate |t|) of a term comes to between place i of a query chunk and place j of the
// nearest key chunk that the term covers: amplitude * query[i] * key[j], factors at most 1.
struct TermFactors {
  explicit TermFactors(const FarTerm& term, int64_t chunk = kChunk);
  double amplitude = 0.0;
  std::vector<double> key;    // [chunk]
  std::vector<double> query;  // [chunk]
};

// The dot products of `factors` [chunk] with the rank functions of one side of a basis.
std::vector<double> Project(const std::vector<double>& functions, int rank,
                            const std::vector<double>& factors);

// The best functions for the sums of `terms` on either side of the query; terms on one side share
// their begin.
ChunkBasis FindChunkBasis(const std::vector<FarTerm>& terms, int rank, int64_t chunk = kChunk);

// A bound on the relative error of the sum of `terms`, all on one side and with one begin, when
// their factors are replaced by their projections, over all chunk offsets up to `last` (counted
// away from the query).
double ProjectionError(const ChunkBasis& basis, const std::vector<FarTerm>& terms, int64_t last);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_CHUNK_BASIS_H_
