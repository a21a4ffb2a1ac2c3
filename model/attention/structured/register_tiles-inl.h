// Small dense products on vectors, one copy per instruction set (Highway). Include after
// hwy/highway.h, inside no namespace.
#if defined(LONGWAVE_MODEL_ATTENTION_STRUCTURED_REGISTER_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LONGWAVE_MODEL_ATTENTION_STRUCTURED_REGISTER_TILES_INL_H_
#undef LONGWAVE_MODEL_ATTENTION_STRUCTURED_REGISTER_TILES_INL_H_
#else
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_REGISTER_TILES_INL_H_
#endif

#include <cstddef>

#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace longwave::attention {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;

// Register tile of the products: kRows rows by kVectors vectors of accumulators, chosen to leave
// registers for the operands.
constexpr int kRows = 6;
#if HWY_TARGET <= HWY_AVX3
constexpr int kVectors = 4;
#else
constexpr int kVectors = 2;
#endif

// acc[r][c] += sum_k a[r * lda + k] b[k * ldb + c * lanes]
template <int kR, int kV>
HWY_INLINE void MultiplyAdd(const float* HWY_RESTRICT a, size_t lda, const float* HWY_RESTRICT b,
                            size_t ldb, size_t depth, V (&acc)[kR][kV]) {
  const D d;
  for (size_t k = 0; k < depth; ++k) {
    V right[kV];
#pragma GCC unroll 8
    for (int c = 0; c < kV; ++c) right[c] = hn::Load(d, b + k * ldb + c * hn::Lanes(d));
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      const V left = hn::Set(d, a[r * lda + k]);
#pragma GCC unroll 8
      for (int c = 0; c < kV; ++c) acc[r][c] = hn::MulAdd(left, right[c], acc[r][c]);
    }
  }
}

// Runs `tile(row, column, constants kR and kV)` over a matrix of rows x columns in register tiles.
// columns is a multiple of 16.
template <int kR, int kV, class Tile>
HWY_INLINE void ForRegisterTilesOf(int row, int columns, Tile& tile) {
  const D d;
  const int lanes = static_cast<int>(hn::Lanes(d));
  int column = 0;
  for (; column + kV * lanes <= columns; column += kV * lanes)
    tile.template Run<kR, kV>(row, column);
  for (; column < columns; column += lanes) tile.template Run<kR, 1>(row, column);
}

template <class Tile>
HWY_INLINE void ForRegisterTiles(int rows, int columns, Tile& tile) {
  int row = 0;
  for (; row + kRows <= rows; row += kRows) ForRegisterTilesOf<kRows, kVectors>(row, columns, tile);
  for (; row + 4 <= rows; row += 4) ForRegisterTilesOf<4, kVectors>(row, columns, tile);
  for (; row + 2 <= rows; row += 2) ForRegisterTilesOf<2, kVectors>(row, columns, tile);
  for (; row < rows; ++row) ForRegisterTilesOf<1, kVectors>(row, columns, tile);
}

// out = a b, or out += factor a b.
struct PlainProduct {
  const float* a;
  size_t lda;
  const float* b;
  size_t ldb;
  size_t depth;
  float* out;
  size_t ldo;

  template <int kR, int kV>
  HWY_INLINE void Run(int row, int column) {
    const D d;
    V acc[kR][kV];
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < kV; ++c) acc[r][c] = hn::Zero(d);
    MultiplyAdd<kR, kV>(a + row * lda, lda, b + column, ldb, depth, acc);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < kV; ++c)
        hn::Store(acc[r][c], d, out + (row + r) * ldo + column + c * hn::Lanes(d));
  }
};

struct AddingProduct : PlainProduct {
  const float* factor;  // per row, or null

  template <int kR, int kV>
  HWY_INLINE void Run(int row, int column) {
    const D d;
    V acc[kR][kV];
    if (factor == nullptr) {
#pragma GCC unroll 8
      for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < kV; ++c)
          acc[r][c] = hn::Load(d, out + (row + r) * ldo + column + c * hn::Lanes(d));
      MultiplyAdd<kR, kV>(a + row * lda, lda, b + column, ldb, depth, acc);
#pragma GCC unroll 8
      for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
        for (int c = 0; c < kV; ++c)
          hn::Store(acc[r][c], d, out + (row + r) * ldo + column + c * hn::Lanes(d));
      return;
    }
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r)
#pragma GCC unroll 8
      for (int c = 0; c < kV; ++c) acc[r][c] = hn::Zero(d);
    MultiplyAdd<kR, kV>(a + row * lda, lda, b + column, ldb, depth, acc);
#pragma GCC unroll 8
    for (int r = 0; r < kR; ++r) {
      const V scale = hn::Set(d, factor[row + r]);
#pragma GCC unroll 8
      for (int c = 0; c < kV; ++c) {
        float* target = out + (row + r) * ldo + column + c * hn::Lanes(d);
        hn::Store(hn::MulAdd(scale, acc[r][c], hn::Load(d, target)), d, target);
      }
    }
  }
};

}  // namespace HWY_NAMESPACE
}  // namespace longwave::attention
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
