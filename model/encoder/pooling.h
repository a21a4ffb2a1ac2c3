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

// hidden: [tokens, E]. Returns [rows, E]. May throw c10::Error. For .cc files only: it shows torch
// types.
at::Tensor PoolRows(const at::Tensor& hidden, const std::vector<PoolRow>& rows);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_ENCODER_POOLING_H_
