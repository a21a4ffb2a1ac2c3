#include "model/attention/fft_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/attention/fft_kernels.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace longwave::attention {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

int64_t Lanes() { return static_cast<int64_t>(hn::Lanes(D())); }

void ExpandImpl(int64_t points, const float* HWY_RESTRICT real, const float* HWY_RESTRICT from,
                float* HWY_RESTRICT to) {
  const D d;
  int64_t p = 0;
  for (; p + Lanes() <= points; p += Lanes()) {
    const V factor = hn::LoadU(d, real + p);
    V re, im;
    hn::LoadInterleaved2(d, from + 2 * p, re, im);
    hn::StoreInterleaved2(hn::Mul(factor, re), hn::Mul(factor, im), d, to + 2 * p);
  }
  for (; p < points; ++p) {
    to[2 * p] = real[p] * from[2 * p];
    to[2 * p + 1] = real[p] * from[2 * p + 1];
  }
}

void FilterImpl(int64_t points, const float* HWY_RESTRICT factor, float* HWY_RESTRICT y) {
  const D d;
  int64_t p = 0;
  for (; p + Lanes() <= points; p += Lanes()) {
    V a, b, re, im;
    hn::LoadInterleaved2(d, factor + 2 * p, a, b);
    hn::LoadInterleaved2(d, y + 2 * p, re, im);
    hn::StoreInterleaved2(hn::NegMulAdd(b, im, hn::Mul(a, re)), hn::MulAdd(b, re, hn::Mul(a, im)),
                          d, y + 2 * p);
  }
  for (; p < points; ++p) {
    const float a = factor[2 * p], b = factor[2 * p + 1], re = y[2 * p], im = y[2 * p + 1];
    y[2 * p] = a * re - b * im;
    y[2 * p + 1] = a * im + b * re;
  }
}

void ContractImpl(int64_t points, const float* HWY_RESTRICT real, const float* HWY_RESTRICT y,
                  float* HWY_RESTRICT sum) {
  const D d;
  int64_t p = 0;
  for (; p + Lanes() <= points; p += Lanes()) {
    const V factor = hn::LoadU(d, real + p);
    V re, im, sum_re, sum_im;
    hn::LoadInterleaved2(d, y + 2 * p, re, im);
    hn::LoadInterleaved2(d, sum + 2 * p, sum_re, sum_im);
    hn::StoreInterleaved2(hn::MulAdd(factor, re, sum_re), hn::MulAdd(factor, im, sum_im), d,
                          sum + 2 * p);
  }
  for (; p < points; ++p) {
    sum[2 * p] += real[p] * y[2 * p];
    sum[2 * p + 1] += real[p] * y[2 * p + 1];
  }
}

void AddUntwistedImpl(int64_t points, const float* HWY_RESTRICT factor, const float* HWY_RESTRICT y,
                      float* HWY_RESTRICT sum) {
  // Once per channel, not once per feature: left to the compiler.
  for (int64_t p = 0; p < points; ++p) {
    const float a = factor[2 * p], b = factor[2 * p + 1], re = y[2 * p], im = y[2 * p + 1];
    sum[2 * p] += a * re + b * im;
    sum[2 * p + 1] += a * im - b * re;
  }
}

void AddDiagonalImpl(int64_t rows, int64_t features, int64_t value_dim, float weight,
                     const float* HWY_RESTRICT q, const float* HWY_RESTRICT k,
                     const float* HWY_RESTRICT v, float* HWY_RESTRICT out, int64_t out_stride,
                     float* HWY_RESTRICT den) {
  const D d;
  for (int64_t i = 0; i < rows;
       ++i, q += features, k += features, v += value_dim, out += out_stride) {
    V products = hn::Zero(d);
    int64_t f = 0;
    for (; f + Lanes() <= features; f += Lanes())
      products = hn::MulAdd(hn::LoadU(d, q + f), hn::LoadU(d, k + f), products);
    float dot = hn::GetLane(hn::SumOfLanes(d, products));
    for (; f < features; ++f) dot += q[f] * k[f];
    const float score = weight * dot;
    den[i] += score;
    const V scores = hn::Set(d, score);
    int64_t e = 0;
    for (; e + Lanes() <= value_dim; e += Lanes())
      hn::StoreU(hn::MulAdd(scores, hn::LoadU(d, v + e), hn::LoadU(d, out + e)), d, out + e);
    for (; e < value_dim; ++e) out[e] += score * v[e];
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace longwave::attention
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longwave::attention {

HWY_EXPORT(ExpandImpl);
HWY_EXPORT(FilterImpl);
HWY_EXPORT(ContractImpl);
HWY_EXPORT(AddUntwistedImpl);
HWY_EXPORT(AddDiagonalImpl);

void Expand(int64_t points, const float* real, const float* from, float* to) {
  HWY_DYNAMIC_DISPATCH(ExpandImpl)(points, real, from, to);
}

void Filter(int64_t points, const float* factor, float* y) {
  HWY_DYNAMIC_DISPATCH(FilterImpl)(points, factor, y);
}

void Contract(int64_t points, const float* real, const float* y, float* sum) {
  HWY_DYNAMIC_DISPATCH(ContractImpl)(points, real, y, sum);
}

void AddUntwisted(int64_t points, const float* factor, const float* y, float* sum) {
  HWY_DYNAMIC_DISPATCH(AddUntwistedImpl)(points, factor, y, sum);
}

void AddDiagonal(int64_t rows, int64_t features, int64_t value_dim, float weight, const float* q,
                 const float* k, const float* v, float* out, int64_t out_stride, float* den) {
  HWY_DYNAMIC_DISPATCH(AddDiagonalImpl)
  (rows, features, value_dim, weight, q, k, v, out, out_stride, den);
}

}  // namespace longwave::attention
#endif  // HWY_ONCE
