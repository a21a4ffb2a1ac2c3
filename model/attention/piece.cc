#include "model/attention/piece.h"

#include <ATen/ops/empty.h>

#include <algorithm>

#include "model/attention/checkpoint.h"

namespace longwave::attention {
namespace {

// Memory that the features and copies of a piece may take, but for one head of one long sequence;
// less where the caller wants to be let in between pieces.
constexpr int64_t kPieceBytes = int64_t{96} << 20;
constexpr int64_t kCheckedPieceBytes = int64_t{16} << 20;

at::Tensor Slice(const at::Tensor& tensor, const Part& part) {
  const Sequence& last = part.sequences.back();
  const int64_t begin = part.sequences.front().begin;
  return tensor.narrow(0, begin, last.begin + last.length - begin)
      .slice(1, part.head_begin, part.head_end);
}

}  // namespace

Piece::Piece(const Part& source) : part(source), phi(ComputeFeatures(part)) {
  Checkpoint();
  values = Slice(part.problem->v, part).permute({1, 0, 2}).to(at::kFloat).contiguous();
  out = at::empty(values.sizes(), at::kFloat);
}

void Piece::Store() const { Slice(part.problem->out, part).copy_(out.permute({1, 0, 2})); }

int64_t Piece::Offset(const Sequence& sequence) const {
  return sequence.begin - part.sequences.front().begin;
}

void ForEachPiece(const Part& part, const std::function<void(const Piece&)>& solve) {
  const Problem& problem = *part.problem;
  const int64_t
      token_bytes =  // of one token and head: features, their panels, temporaries, values, output
      int64_t{sizeof(float)} * (5 * problem.feature_dim() + 3 * problem.v.size(2));
  const int64_t piece_bytes = HasCheckpoint() ? kCheckedPieceBytes : kPieceBytes;
  const int64_t room = std::max<int64_t>(1, piece_bytes / token_bytes);  // tokens times heads
  const int64_t heads = part.head_end - part.head_begin;

  for (size_t first = 0; first < part.sequences.size();) {
    int64_t tokens = part.sequences[first].length;
    size_t last = first + 1;
    while (last < part.sequences.size() && (tokens + part.sequences[last].length) * heads <= room) {
      tokens += part.sequences[last++].length;
    }
    const int64_t step = std::clamp<int64_t>(room / std::max<int64_t>(tokens, 1), 1, heads);
    for (int64_t head = part.head_begin; tokens > 0 && head < part.head_end; head += step) {
      const Piece piece({part.problem,
                         {part.sequences.begin() + first, part.sequences.begin() + last},
                         head,
                         std::min(head + step, part.head_end)});
      Checkpoint();
      solve(piece);
      Checkpoint();
    }
    first = last;
  }
}

}  // namespace longwave::attention
