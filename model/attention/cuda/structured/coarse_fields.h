#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_COARSE_FIELDS_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_COARSE_FIELDS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "model/attention/position_bias.h"
#include "model/attention/structured/chunk_basis.h"
#include "model/attention/structured/table_structure.h"

namespace longwave::attention::cuda {

// The largest relative error of a weight of a coarse far field: small beside what bfloat16
// features, tiles and states err by (4e-3 of max|v|), large enough for a few states.
inline constexpr double kCoarseError = 1.5e-3;

// A smooth far field for bfloat16: fewer exponentials and, over blocks of kBlock tokens, fewer
// states than one for float32 takes. structure.relative_error covers the basis, too.
struct CoarseField {
  TableStructure structure;
  ChunkBasis basis;  // in blocks
};

// Those of all heads of a table. Immutable.
class CoarseFields {
 public:
  // Analyses the heads that have a smooth structure; uses the threads of at::parallel_for.
  explicit CoarseFields(const PositionBias& bias);

  // Null: none.
  const CoarseField* Of(int64_t head) const { return heads_[head] ? &*heads_[head] : nullptr; }

 private:
  std::vector<std::optional<CoarseField>> heads_;
};

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_STRUCTURED_COARSE_FIELDS_H_
