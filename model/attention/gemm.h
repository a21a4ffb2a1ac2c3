#ifndef LONGWAVE_MODEL_ATTENTION_GEMM_H_
#define LONGWAVE_MODEL_ATTENTION_GEMM_H_

#include <cstdint>

namespace longwave::attention {

// A float32 matrix in row-major order; consecutive rows are `stride` elements apart.
struct ConstMatrix {
  const float* data;
  int64_t stride;
};
struct Matrix {
  float* data;
  int64_t stride;
};

// c[rows, columns] (+)= a[rows, inner] b[inner, columns], on the calling thread. Every dimension is
// at least 1.
//
// repeated: this shape comes often. oneDNN then compiles a kernel for it (0.1 ms, kept for the
// thread's life), which is a fifth faster than the BLAS on small tiles; so few distinct shapes may
// set it.
void TileProduct(int64_t rows, int64_t columns, int64_t inner, ConstMatrix a, ConstMatrix b,
                 Matrix c, bool accumulate, bool repeated);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_GEMM_H_
