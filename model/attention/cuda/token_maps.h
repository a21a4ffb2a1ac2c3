#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_TOKEN_MAPS_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_TOKEN_MAPS_H_

#include <cuda.h>
#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/attention/cuda/attention_args.h"

namespace longwave::attention::cuda {

// What the tensor memory accelerator copies tokens to swizzled tiles by.
struct TokenMaps {
  CUtensorMap q, k, v;
};

// A map of bfloat16 [tokens][heads][columns] in tiles of `rows` tokens and 64 columns, zeros
// beyond. NotSupported where the driver has none.
cudaError_t MapTokens(const TokenView& view, int heads, int64_t tokens, int columns, int rows,
                      CUtensorMap* map);

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_TOKEN_MAPS_H_
