#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_EXACT_ROWS_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_EXACT_ROWS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/attention/cuda/attention_args.h"

namespace longwave::attention::cuda {

// Rows to compute again, gathered on the device by kernels that find a denominator in doubt. A row
// is token * heads + head, heads = those of the tensors.
struct RowList {
  const int32_t* count = nullptr;
  const int64_t* rows = nullptr;
};

// Computes rows of `out` from the formula in float64, by the logarithm of every weight with a
// running maximum: right for any table, feature map, scale and dtype, whatever the exponents. One
// block a row, each of n (m d + d_v) float64 operations. list null: all rows; else the rows of the
// list, whose length the kernel reads on the device and exits at once when it is 0. `heads`: of the
// tensors.
//
// Returns the error of the launch. Queues on the stream, never waits.
cudaError_t LaunchExactRows(const AttentionArgs& args, int heads, const RowList* list,
                            cudaStream_t stream);

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_EXACT_ROWS_H_
