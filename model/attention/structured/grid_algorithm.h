#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_GRID_ALGORITHM_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_GRID_ALGORITHM_H_

#include "model/attention/algorithm.h"

namespace longwave::attention {

// The algorithm "structured" of the CPU for tokens in a grid.
const Algorithm& GridStructured();

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_GRID_ALGORITHM_H_
