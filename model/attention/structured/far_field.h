#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_FAR_FIELD_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_FAR_FIELD_H_

#include <cstdint>
#include <vector>

#include "model/attention/structured/state_scan.h"
#include "model/attention/structured/table_structure.h"

namespace longwave::attention {

// How a table's far terms are computed: every key chunk keeps a few states, sums of phi v^T with a
// factor by place in the chunk; scans carry them to the query chunks; there the states are
// multiplied with the queries, again with a factor by place. All constants share one state, an
// exponential that stands alone has its own, smooth terms share a basis.
struct FarField {
  int states = 0;
  std::vector<float> key_factors;    // [states][kChunk]
  std::vector<float> query_factors;  // [states][kChunk]
  std::vector<Scan> scans;

  explicit FarField(const TableStructure& structure);

  // The part that a sequence of so many chunks needs.
  FarField Within(int64_t chunks) const;

 private:
  FarField() = default;
  void AddState(const std::vector<double>& key, const std::vector<double>& query);
  void AddConstants(const std::vector<FarTerm>& terms);
  void AddAlone(const FarTerm& term);
  void AddSmooth(const std::vector<FarTerm>& terms, const ChunkBasis& basis);
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_FAR_FIELD_H_
