#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_PREPARED_GRID_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_PREPARED_GRID_H_

#include <optional>

#include "model/attention/structured/grid_structure.h"
#include "model/attention/structured/separable_structure.h"

namespace longwave::attention {

// What the analysis of one head's table finds; at least one of them.
struct PreparedGrid {
  std::optional<GridStructure> blocks;
  std::optional<SeparableStructure> axes;
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_PREPARED_GRID_H_
