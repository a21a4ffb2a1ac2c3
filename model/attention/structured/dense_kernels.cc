#include "model/attention/structured/dense_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/attention/structured/dense_kernels.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
// after highway.h
#include "model/attention/structured/register_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longwave::attention {
namespace HWY_NAMESPACE {

void DenseProductImpl(int rows, int depth, int columns, const float* a, const float* b, float* out,
                      size_t out_stride) {
  PlainProduct product{a,
                       static_cast<size_t>(depth),
                       b,
                       static_cast<size_t>(columns),
                       static_cast<size_t>(depth),
                       out,
                       out_stride};
  ForRegisterTiles(rows, columns, product);
}

void ScaleRowsImpl(int rows, int columns, const float* HWY_RESTRICT factors,
                   const float* HWY_RESTRICT x, float* HWY_RESTRICT out) {
  const D d;
  for (int i = 0; i < rows; ++i) {
    const V factor = hn::Set(d, factors[i]);
    for (int e = 0; e < columns; e += static_cast<int>(hn::Lanes(d)))
      hn::Store(hn::Mul(factor, hn::Load(d, x + i * columns + e)), d, out + i * columns + e);
  }
}

void AddScaledRowsImpl(int rows, int columns, const float* HWY_RESTRICT factors,
                       const float* HWY_RESTRICT x, float* HWY_RESTRICT out, size_t out_stride) {
  const D d;
  for (int i = 0; i < rows; ++i) {
    const V factor = hn::Set(d, factors[i]);
    float* const row = out + i * out_stride;
    for (int e = 0; e < columns; e += static_cast<int>(hn::Lanes(d)))
      hn::Store(hn::MulAdd(factor, hn::Load(d, x + i * columns + e), hn::Load(d, row + e)), d,
                row + e);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace longwave::attention
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longwave::attention {

HWY_EXPORT(DenseProductImpl);
HWY_EXPORT(ScaleRowsImpl);
HWY_EXPORT(AddScaledRowsImpl);

void DenseProduct(int rows, int depth, int columns, const float* a, const float* b, float* out,
                  std::size_t out_stride) {
  HWY_DYNAMIC_DISPATCH(DenseProductImpl)(rows, depth, columns, a, b, out, out_stride);
}

void ScaleRows(int rows, int columns, const float* factors, const float* x, float* out) {
  HWY_DYNAMIC_DISPATCH(ScaleRowsImpl)(rows, columns, factors, x, out);
}

void AddScaledRows(int rows, int columns, const float* factors, const float* x, float* out,
                   std::size_t out_stride) {
  HWY_DYNAMIC_DISPATCH(AddScaledRowsImpl)(rows, columns, factors, x, out, out_stride);
}

}  // namespace longwave::attention
#endif  // HWY_ONCE
