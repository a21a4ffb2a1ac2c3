#ifndef LONGWAVE_MODEL_ATTENTION_FFT_KERNELS_H_
#define LONGWAVE_MODEL_ATTENTION_FFT_KERNELS_H_

#include <cstdint>

// The element-wise work around the transforms of "fft". Complex numbers are pairs (re, im) of
// floats. Pure, thread-safe, any alignment; the instruction set is chosen at run time (Highway).
namespace longwave::attention {

// to[p] = real[p] from[p], `to` and `from` complex.
void Expand(int64_t points, const float* real, const float* from, float* to);

// y[p] *= factor[p], both complex.
void Filter(int64_t points, const float* factor, float* y);

// sum[p] += real[p] y[p], `sum` and `y` complex.
void Contract(int64_t points, const float* real, const float* y, float* sum);

// sum[p] += conj(factor[p]) y[p], all complex.
void AddUntwisted(int64_t points, const float* factor, const float* y, float* sum);

// For `rows` queries and as many keys side by side: s = weight (q_i . k_i), den[i] += s and
// out[i] += s v_i. q, k: [rows][features]; v: [rows][value_dim]; out: rows out_stride apart.
void AddDiagonal(int64_t rows, int64_t features, int64_t value_dim, float weight, const float* q,
                 const float* k, const float* v, float* out, int64_t out_stride, float* den);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_FFT_KERNELS_H_
