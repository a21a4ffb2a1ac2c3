#ifndef LONGWAVE_MODEL_ENCODER_POOLING_H_
#define LONGWAVE_MODEL_ENCODER_POOLING_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/checkpoint/pooling.h"

namespace longwave {

// One row to make: of the tokens [begin, begin + length), length at least 1. `pooling` is not
// kNone.
struct PoolRow {
  int64_t begin = 0;
  int64_t length = 0;
  Pooling pooling = Pooling::kMean;
};

// The tokens that each row is the mean of, as encoder::SpanMeans() takes them: writes [rows, 2]
// numbers to `spans` and returns the largest number of tokens.
int64_t WriteSpans(const std::vector<PoolRow>& rows, int64_t* spans);

// hidden: [tokens, E]. Returns float32 [rows, E]. On a GPU it waits for what was queued before. May
// throw c10::Error. For .cc files only: it shows torch types.
at::Tensor PoolRows(const at::Tensor& hidden, const std::vector<PoolRow>& rows);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_POOLING_H_
