#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_DENSE_KERNELS_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_DENSE_KERNELS_H_

#include <cstddef>

namespace longwave::attention {

// Rows of `columns` floats each, a multiple of 16, 64-byte aligned unless a stride is named. All
// are pure, thread-safe and choose their instruction set at run time (Highway).

// out = a b: a [rows][depth], b [depth][columns], both contiguous; rows of out lie out_stride
// floats apart, a multiple of 16.
void DenseProduct(int rows, int depth, int columns, const float* a, const float* b, float* out,
                  std::size_t out_stride);

// out[i] = factors[i] x[i].
void ScaleRows(int rows, int columns, const float* factors, const float* x, float* out);

// out[i] += factors[i] x[i]; rows of out lie out_stride floats apart, a multiple of 16.
void AddScaledRows(int rows, int columns, const float* factors, const float* x, float* out,
                   std::size_t out_stride);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_DENSE_KERNELS_H_
