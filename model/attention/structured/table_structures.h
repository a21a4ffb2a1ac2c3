#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_TABLE_STRUCTURES_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_TABLE_STRUCTURES_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "model/attention/structured/prepared_head.h"

namespace longwave::attention {

// The structures of all heads of a table. Immutable, thread-safe.
class TableStructures {
 public:
  // table: float32 [heads, 2L-1] on the CPU, as in RelativeBias; not kept. causal: distances t > 0
  // are forbidden.
  TableStructures(const at::Tensor& table, bool causal);

  // Exact structure: constant runs, one exponential a side, direct tiles for the rest.
  const PreparedHead& Exact(int64_t head) const { return *exact_[head]; }

  // The same with a smooth far field as a sum of exponentials; nullptr where the table has none or
  // the exact structure is already cheap.
  const PreparedHead* Smooth(int64_t head) const { return smooth_[head].get(); }

 private:
  std::vector<std::unique_ptr<PreparedHead>> exact_;
  std::vector<std::unique_ptr<PreparedHead>> smooth_;
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_TABLE_STRUCTURES_H_
