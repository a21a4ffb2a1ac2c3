#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_FAR_TERM_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_FAR_TERM_H_

#include <cstdint>
#include <limits>

namespace longwave::attention {

inline constexpr int64_t kOpen = std::numeric_limits<int64_t>::max() / 4;

// exp(log_amplitude - rate |t|) on all chunk offsets in [begin, end); -kOpen and kOpen mean "and
// everything beyond". begin > 0 or end <= 0: a term lies on one side.
struct FarTerm {
  int64_t begin = 0;
  int64_t end = 0;
  double rate = 0.0;           // per token, >= 0
  double log_amplitude = 0.0;  // relative to TableStructure::reference
  bool smooth = false;         // one of a sum that goes through TableStructure::basis

  bool left() const { return end <= 0; }
  // Counted away from the query, whatever the side.
  int64_t nearest() const { return left() ? 1 - end : begin; }
  int64_t beyond() const {
    if (left()) return begin == -kOpen ? kOpen : 1 - begin;
    return end;
  }
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_FAR_TERM_H_
