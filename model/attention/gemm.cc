#include "model/attention/gemm.h"

#include <ATen/native/CPUBlas.h>

// The BLAS inside libtorch_cpu (MKL or OpenBLAS): column-major, all arguments by address.
extern "C" void sgemm_(const char* trans_a, const char* trans_b, const int* m, const int* n,
                       const int* k, const float* alpha, const float* a, const int* lda,
                       const float* b, const int* ldb, const float* beta, float* c, const int* ldc);

namespace longwave::attention {
namespace {

// Whether oneDNN has float32 tile kernels for this processor: one product tells.
bool HasTileKernels() {
  static const bool has = [] {
    const float a[16] = {}, b[16 * 16] = {};
    float c[16];
    try {
      at::native::cpublas::brgemm(1, 16, 16, 16, 16, 16, false, a, b, c);
      return true;
    } catch (const c10::Error&) {
      return false;
    }
  }();
  return has;
}

}  // namespace

void TileProduct(int64_t rows, int64_t columns, int64_t inner, ConstMatrix a, ConstMatrix b,
                 Matrix c, bool accumulate, bool repeated) {
  if (repeated && HasTileKernels()) {
    at::native::cpublas::brgemm(rows, columns, inner, a.stride, b.stride, c.stride, accumulate,
                                a.data, b.data, c.data);
    return;
  }
  // Row-major c = a b is column-major c' = b' a'.
  const int m = static_cast<int>(columns), n = static_cast<int>(rows), k = static_cast<int>(inner);
  const int lda = static_cast<int>(b.stride), ldb = static_cast<int>(a.stride),
            ldc = static_cast<int>(c.stride);
  const float alpha = 1, beta = accumulate ? 1 : 0;
  sgemm_("N", "N", &m, &n, &k, &alpha, b.data, &lda, a.data, &ldb, &beta, c.data, &ldc);
}

}  // namespace longwave::attention
