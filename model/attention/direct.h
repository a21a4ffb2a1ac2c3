#ifndef LONGWAVE_MODEL_ATTENTION_DIRECT_H_
#define LONGWAVE_MODEL_ATTENTION_DIRECT_H_

#include <cstdint>
#include <vector>

#include "model/attention/piece.h"

namespace longwave::attention {

// The tiles of scores between queries and keys, most of kRows x kKeys: float32 ones stay in a
// core's second-level cache. Those whose weights are all 0 are skipped.
struct DirectTile {
  static constexpr int64_t kRows = 128;
  static constexpr int64_t kKeys = 256;
};

// Some rows of one sequence and one head of a piece.
struct RowSet {
  Sequence sequence;
  int64_t head = 0;           // counted from the piece's first
  std::vector<int64_t> rows;  // positions within the sequence
};

// Writes those rows of piece.out, by (phi(Q) phi(K)^T * C) V in tiles. Float32, every row accurate
// by itself: rows whose weights underflow float32 are computed in float64. Parallel over all blocks
// of rows of all sets.
void SolveDirectly(const Piece& piece, std::vector<RowSet> sets);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_DIRECT_H_
