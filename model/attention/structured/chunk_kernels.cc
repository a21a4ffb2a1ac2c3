#include "model/attention/structured/chunk_kernels.h"

#include <algorithm>
#include <cmath>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/attention/structured/chunk_kernels.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
// after highway.h
#include "hwy/contrib/math/math-inl.h"
#include "model/attention/structured/register_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longwave::attention {
namespace HWY_NAMESPACE {
// weights[i][j] = c[i * c_stride + j] (phi_q[i] . phi_k[j]), and den[i] += their sum over this
// tile's columns.
struct WeightTile {
  const float* phi_q;
  const float* phi_k;
  size_t depth;
  const float* c;
  std::ptrdiff_t c_stride;
  float* weights;
  float* den;

  template <int kR, int kV>
  HWY_INLINE void Run(int row, int column) {
    const D d;
    V acc[kR][kV];
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) acc[r][v] = hn::Zero(d);
    MultiplyAdd<kR, kV>(phi_q + row * depth, depth, phi_k + column, kChunk, depth, acc);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      V sum = hn::Zero(d);
      const float* const row_weights = c + (row + r) * c_stride;
#pragma GCC unroll 8
      for (int v = 0; v < kV; ++v) {
        const int j = column + v * static_cast<int>(hn::Lanes(d));
        const V weight = hn::Mul(acc[r][v], hn::LoadU(d, row_weights + j));
        hn::Store(weight, d, weights + (row + r) * kChunk + j);
        sum = hn::Add(sum, weight);
      }
      den[row + r] += hn::GetLane(hn::SumOfLanes(d, sum));
    }
  }
};

// Copies `rows` strided tokens into a zero-padded tile [kChunk][dim_pad], normalised and scaled;
// returns |x|^2 / 2 in half_norm, and in poison 0, or NaN where |x|^2 is not finite.
HWY_INLINE void LoadTokens(const ChunkShape& shape, float scale, const float* HWY_RESTRICT x,
                           std::ptrdiff_t stride, int rows, float* HWY_RESTRICT tile,
                           float* HWY_RESTRICT half_norm, float* HWY_RESTRICT poison) {
  for (int i = 0; i < kChunk; ++i) {
    float* to = tile + i * shape.dim_pad;
    if (i >= rows) {
      for (int e = 0; e < shape.dim_pad; ++e) to[e] = 0.0F;
      half_norm[i] = 0.0F;
      poison[i] = 0.0F;
      continue;
    }
    const float* from = x + i * stride;
    const D d;
    const int lanes = static_cast<int>(hn::Lanes(d));
    V squares = hn::Zero(d);
    int e = 0;
    for (; e + lanes <= shape.dim; e += lanes) {
      const V value = hn::LoadU(d, from + e);
      squares = hn::MulAdd(value, value, squares);
    }
    float sum = hn::GetLane(hn::SumOfLanes(d, squares));
    for (; e < shape.dim; ++e) sum += from[e] * from[e];
    const float norm = std::sqrt(sum);
    const float factor = scale / std::max(norm, 1e-12F);
    for (e = 0; e + lanes <= shape.dim; e += lanes)
      hn::Store(hn::Mul(hn::LoadU(d, from + e), hn::Set(d, factor)), d, to + e);
    for (; e < shape.dim; ++e) to[e] = from[e] * factor;
    for (; e < shape.dim_pad; ++e) to[e] = 0.0F;
    half_norm[i] = 0.5F * sum * factor * factor;
    // Not what the caller would take for a good answer: exp() below may lose a NaN, so it goes
    // here.
    poison[i] = sum - sum;
  }
}

HWY_INLINE void Transpose(const float* HWY_RESTRICT from, int columns, float* HWY_RESTRICT to) {
  // 8 x 8 pieces, so that both sides stay within a few cache lines.
  for (int i = 0; i < kChunk; i += 8)
    for (int e = 0; e < columns; e += 8)
      for (int ee = e; ee < e + 8; ++ee)
        for (int ii = i; ii < i + 8; ++ii) to[ee * kChunk + ii] = from[ii * columns + ee];
}

void KeyFeaturesImpl(const ChunkShape& shape, float scale, const float* k, std::ptrdiff_t stride,
                     int rows, const float* w, float* scratch, float* phi) {
  const D d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  float* tile = scratch;
  float* transposed = scratch + kChunk * shape.dim_pad;
  HWY_ALIGN float half_norm[kChunk];
  HWY_ALIGN float poison[kChunk];
  LoadTokens(shape, scale, k, stride, rows, tile, half_norm, poison);
  Transpose(tile, shape.dim_pad, transposed);
  PlainProduct product{w,      static_cast<size_t>(shape.dim_pad), transposed,
                       kChunk, static_cast<size_t>(shape.dim_pad), phi,
                       kChunk};
  ForRegisterTiles(shape.features_pad, kChunk, product);
  for (int f = 0; f < shape.features_pad; ++f) {
    float* row = phi + f * kChunk;
    for (int j = 0; j < kChunk; j += lanes) {
      const V value = hn::Add(hn::Exp(d, hn::Sub(hn::Load(d, row + j), hn::Load(d, half_norm + j))),
                              hn::Load(d, poison + j));
      const auto inside = hn::FirstN(d, rows > j ? static_cast<size_t>(rows - j) : 0);
      hn::Store(f < shape.features ? hn::IfThenElseZero(inside, value) : hn::Zero(d), d, row + j);
    }
  }
}

void QueryFeaturesImpl(const ChunkShape& shape, float scale, const float* q, std::ptrdiff_t stride,
                       int rows, const float* wt, float* scratch, float* phi) {
  const D d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  float* tile = scratch;
  HWY_ALIGN float half_norm[kChunk];
  HWY_ALIGN float poison[kChunk];
  LoadTokens(shape, scale, q, stride, rows, tile, half_norm, poison);
  PlainProduct product{tile,
                       static_cast<size_t>(shape.dim_pad),
                       wt,
                       static_cast<size_t>(shape.features_pad),
                       static_cast<size_t>(shape.dim_pad),
                       phi,
                       static_cast<size_t>(shape.features_pad)};
  ForRegisterTiles(kChunk, shape.features_pad, product);
  for (int i = 0; i < kChunk; ++i) {
    float* row = phi + i * shape.features_pad;
    if (i >= rows) {
      for (int f = 0; f < shape.features_pad; ++f) row[f] = 0.0F;
      continue;
    }
    // A query's own factors cancel: its largest feature is 1, which leaves float32's range to the
    // keys.
    float shift = row[0];
    for (int f = 1; f < shape.features; ++f) shift = std::max(shift, row[f]);
    for (int f = 0; f < shape.features_pad; f += lanes)
      hn::Store(hn::Add(hn::Exp(d, hn::Sub(hn::Load(d, row + f), hn::Set(d, shift))),
                        hn::Set(d, poison[i])),
                d, row + f);
    for (int f = shape.features; f < shape.features_pad; ++f) row[f] = 0.0F;
  }
}

void ChunkStateImpl(const ChunkShape& shape, const float* phi_k, const float* values,
                    const float* decay, float* scratch, float* state) {
  const D d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  float* decayed = scratch;
  if (decay != nullptr) {
    for (int j = 0; j < kChunk; ++j)
      for (int e = 0; e < shape.value_pad; e += lanes)
        hn::Store(hn::Mul(hn::Load(d, values + j * shape.value_pad + e), hn::Set(d, decay[j])), d,
                  decayed + j * shape.value_pad + e);
    values = decayed;
  }
  PlainProduct product{phi_k,
                       kChunk,
                       values,
                       static_cast<size_t>(shape.value_pad),
                       kChunk,
                       state,
                       static_cast<size_t>(shape.value_pad)};
  ForRegisterTiles(shape.features_pad, shape.value_pad, product);
  float* sums = state + shape.features_pad * shape.value_pad;
  for (int f = 0; f < shape.features_pad; ++f) {
    V sum = hn::Zero(d);
    for (int j = 0; j < kChunk; j += lanes) {
      const V phi = hn::Load(d, phi_k + f * kChunk + j);
      sum = decay == nullptr ? hn::Add(sum, phi) : hn::MulAdd(phi, hn::LoadU(d, decay + j), sum);
    }
    sums[f] = hn::GetLane(hn::SumOfLanes(d, sum));
  }
}

void NearTileImpl(const ChunkShape& shape, const float* phi_q, const float* phi_k,
                  const float* values, const float* c, std::ptrdiff_t c_stride, float* scratch,
                  float* out, float* den) {
  float* weights = scratch;
  WeightTile tile{phi_q, phi_k, static_cast<size_t>(shape.features_pad), c, c_stride, weights, den};
  ForRegisterTiles(kChunk, kChunk, tile);
  AddingProduct product{{weights, kChunk, values, static_cast<size_t>(shape.value_pad), kChunk, out,
                         static_cast<size_t>(shape.value_pad)},
                        nullptr};
  ForRegisterTiles(kChunk, shape.value_pad, product);
}

void FarProductImpl(const ChunkShape& shape, const float* phi_q, const float* state,
                    const float* factor, float* out, float* den) {
  const D d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  const size_t features = static_cast<size_t>(shape.features_pad);
  AddingProduct product{{phi_q, features, state, static_cast<size_t>(shape.value_pad), features,
                         out, static_cast<size_t>(shape.value_pad)},
                        factor};
  ForRegisterTiles(kChunk, shape.value_pad, product);
  const float* sums = state + features * shape.value_pad;
  for (int i = 0; i < kChunk; ++i) {
    V sum = hn::Zero(d);
    for (int f = 0; f < shape.features_pad; f += lanes)
      sum = hn::MulAdd(hn::Load(d, phi_q + i * features + f), hn::Load(d, sums + f), sum);
    const float total = hn::GetLane(hn::SumOfLanes(d, sum));
    den[i] += factor == nullptr ? total : factor[i] * total;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace longwave::attention
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longwave::attention {

HWY_EXPORT(KeyFeaturesImpl);
HWY_EXPORT(QueryFeaturesImpl);
HWY_EXPORT(ChunkStateImpl);
HWY_EXPORT(NearTileImpl);
HWY_EXPORT(FarProductImpl);

ChunkShape ChunkShape::Make(int dim, int features, int value_dim) {
  const auto pad = [](int size) { return (size + 15) / 16 * 16; };
  return {dim, features, value_dim, pad(dim), pad(features), pad(value_dim)};
}

std::size_t ChunkShape::scratch_size() const {
  const int keys = 2 * dim_pad;  // tokens and their transpose
  return static_cast<std::size_t>(kChunk) * std::max({keys, value_pad, kChunk});
}

void KeyFeatures(const ChunkShape& shape, float scale, const float* k, std::ptrdiff_t stride,
                 int rows, const float* w, float* scratch, float* phi) {
  HWY_DYNAMIC_DISPATCH(KeyFeaturesImpl)(shape, scale, k, stride, rows, w, scratch, phi);
}

void QueryFeatures(const ChunkShape& shape, float scale, const float* q, std::ptrdiff_t stride,
                   int rows, const float* wt, float* scratch, float* phi) {
  HWY_DYNAMIC_DISPATCH(QueryFeaturesImpl)(shape, scale, q, stride, rows, wt, scratch, phi);
}

void PackValues(const ChunkShape& shape, const float* v, std::ptrdiff_t stride, int rows,
                const float* factor, float* tile) {
  for (int i = 0; i < kChunk; ++i) {
    float* to = tile + i * shape.value_pad;
    int e = 0;
    if (i < rows)
      for (; e < shape.value_dim; ++e) to[e] = v[i * stride + e] * factor[e];
    for (; e < shape.value_pad; ++e) to[e] = 0.0F;
  }
}

void ChunkState(const ChunkShape& shape, const float* phi_k, const float* values,
                const float* decay, float* scratch, float* state) {
  HWY_DYNAMIC_DISPATCH(ChunkStateImpl)(shape, phi_k, values, decay, scratch, state);
}

void NearTile(const ChunkShape& shape, const float* phi_q, const float* phi_k, const float* values,
              const float* c, std::ptrdiff_t c_stride, float* scratch, float* out, float* den) {
  HWY_DYNAMIC_DISPATCH(NearTileImpl)(shape, phi_q, phi_k, values, c, c_stride, scratch, out, den);
}

void FarProduct(const ChunkShape& shape, const float* phi_q, const float* state,
                const float* factor, float* out, float* den) {
  HWY_DYNAMIC_DISPATCH(FarProductImpl)(shape, phi_q, state, factor, out, den);
}

void Divide(const ChunkShape& shape, const float* out, const float* den, const float* factor,
            int rows, float* target, std::ptrdiff_t stride) {
  for (int i = 0; i < rows; ++i) {
    const float inverse = 1.0F / den[i];
    for (int e = 0; e < shape.value_dim; ++e)
      target[i * stride + e] = out[i * shape.value_pad + e] * inverse / factor[e];
  }
}

}  // namespace longwave::attention
#endif  // HWY_ONCE
