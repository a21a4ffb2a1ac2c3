#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_PREPARED_HEAD_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_PREPARED_HEAD_H_

#include <cstdint>
#include <vector>

#include "model/attention/structured/far_field.h"
#include "model/attention/structured/table_structure.h"

namespace longwave::attention {

// A table's structure with the weights exp(b - reference) of its direct tiles. Immutable,
// thread-safe.
class PreparedHead {
 public:
  // bias: [2 * length - 1] as in AnalyzeTable; not kept.
  PreparedHead(const float* bias, int64_t length, TableStructure structure);

  const TableStructure& structure() const { return structure_; }
  const FarField& far_field() const { return far_field_; }

  // The weight of distance offset * kChunk, of a direct tile; the kChunk - 1 weights on either side
  // of it are readable.
  const float* Tile(int64_t offset) const;

 private:
  TableStructure structure_;
  FarField far_field_;
  int64_t reach_ = 0;  // the largest offset that is stored
  std::vector<float> weights_;
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_PREPARED_HEAD_H_
