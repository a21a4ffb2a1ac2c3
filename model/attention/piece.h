#ifndef LONGWAVE_MODEL_ATTENTION_PIECE_H_
#define LONGWAVE_MODEL_ATTENTION_PIECE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>

#include "model/attention/features.h"
#include "model/attention/problem.h"

namespace longwave::attention {

// A part small enough to hold its features at once, with float32 copies of what the float32
// algorithms read and write. Heads and tokens are counted from the part's first.
struct Piece {
  explicit Piece(const Part& part);

  // Writes `out` to the problem's output, in its dtype.
  void Store() const;

  // Where a sequence begins in the tensors below.
  int64_t Offset(const Sequence& sequence) const;

  Part part;
  Features phi;       // [heads, tokens, features]
  at::Tensor values;  // [heads, tokens, value_dim], contiguous
  at::Tensor out;     // the same shape
};

// Calls `solve` for pieces that cover the part: whole sequences and, where one is long, a few heads
// at a time.
void ForEachPiece(const Part& part, const std::function<void(const Piece&)>& solve);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_PIECE_H_
