#include "model/attention/structured/line_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "model/attention/structured/line_kernels.cc"
#include "hwy/foreach_target.h"  // must come before highway.h
#include "hwy/highway.h"
// after highway.h
#include "model/attention/structured/register_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace longwave::attention {
namespace HWY_NAMESPACE {

// Lines are short: four rows of accumulators divide them evenly, and leave room for two vectors.
constexpr int kLineRows = 4;

template <class Tile>
HWY_INLINE void ForLineTiles(int rows, int columns, Tile& tile) {
  int row = 0;
  for (; row + kLineRows <= rows; row += kLineRows)
    ForRegisterTilesOf<kLineRows, kVectors>(row, columns, tile);
  for (; row < rows; ++row) ForRegisterTilesOf<1, kVectors>(row, columns, tile);
}

void LineStateImpl(const ChunkShape& shape, const Line& line, const FeatureSlice& slice,
                   const float* phi_k, const float* values, const float* factor, float* state) {
  // The keys' features in one piece, [count][tokens], so that the product reads them in order.
  HWY_ALIGN float phi[kChunk * 64];
  for (int f0 = 0; f0 < slice.count; f0 += 64) {
    const int count = slice.count - f0 < 64 ? slice.count - f0 : 64;
    float* const sums = state + static_cast<size_t>(slice.count) * shape.value_pad + f0;
    for (int f = 0; f < count; ++f) {
      const float* from = phi_k + (slice.begin + f0 + f) * kChunk + line.first;
      float sum = 0.0F;
      for (int j = 0; j < line.tokens; ++j) {
        const int place = j * line.step;
        const float value =
            factor == nullptr ? from[place] : factor[line.first + place] * from[place];
        phi[f * line.tokens + j] = value;
        sum += value;
      }
      sums[f] = sum;
    }
    PlainProduct product{phi,
                         static_cast<size_t>(line.tokens),
                         values + line.first * shape.value_pad,
                         static_cast<size_t>(line.step) * shape.value_pad,
                         static_cast<size_t>(line.tokens),
                         state + static_cast<size_t>(f0) * shape.value_pad,
                         static_cast<size_t>(shape.value_pad)};
    ForRegisterTiles(count, shape.value_pad, product);
  }
}

void CombineStatesImpl(int lines, const float* weights, size_t weights_stride, const float* states,
                       size_t size, float* sums) {
  AddingProduct product{
      {weights, weights_stride, states, size, static_cast<size_t>(lines), sums, size}, nullptr};
  ForLineTiles(lines, static_cast<int>(size), product);
}

void LineProductImpl(const ChunkShape& shape, const Line& line, const FeatureSlice& slice,
                     const float* phi_q, const float* state, const float* factor, float* out,
                     float* den) {
  const D d;
  const size_t features = static_cast<size_t>(shape.features_pad);
  const size_t values = static_cast<size_t>(shape.value_pad);
  const size_t step = static_cast<size_t>(line.step);
  HWY_ALIGN float factors[kChunk];
  if (factor != nullptr)
    for (int i = 0; i < line.tokens; ++i) factors[i] = factor[line.first + i * line.step];
  const float* const queries = phi_q + line.first * features + slice.begin;
  AddingProduct product{{queries, step * features, state, values, static_cast<size_t>(slice.count),
                         out + line.first * values, step * values},
                        factor == nullptr ? nullptr : factors};
  ForLineTiles(line.tokens, shape.value_pad, product);
  const float* const sums = state + slice.count * values;
  for (int i = 0; i < line.tokens; ++i) {
    V sum = hn::Zero(d);
    for (int f = 0; f < slice.count; f += static_cast<int>(hn::Lanes(d)))
      sum = hn::MulAdd(hn::LoadU(d, queries + i * step * features + f), hn::Load(d, sums + f), sum);
    const float total = hn::GetLane(hn::SumOfLanes(d, sum));
    den[line.first + i * line.step] += factor == nullptr ? total : factors[i] * total;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace longwave::attention
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace longwave::attention {

HWY_EXPORT(LineStateImpl);
HWY_EXPORT(CombineStatesImpl);
HWY_EXPORT(LineProductImpl);

void LineState(const ChunkShape& shape, const Line& line, const FeatureSlice& slice,
               const float* phi_k, const float* values, const float* factor, float* state) {
  HWY_DYNAMIC_DISPATCH(LineStateImpl)(shape, line, slice, phi_k, values, factor, state);
}

void CombineStates(int lines, const float* weights, std::size_t weights_stride, const float* states,
                   std::size_t size, float* sums) {
  HWY_DYNAMIC_DISPATCH(CombineStatesImpl)(lines, weights, weights_stride, states, size, sums);
}

void LineProduct(const ChunkShape& shape, const Line& line, const FeatureSlice& slice,
                 const float* phi_q, const float* state, const float* factor, float* out,
                 float* den) {
  HWY_DYNAMIC_DISPATCH(LineProductImpl)(shape, line, slice, phi_q, state, factor, out, den);
}

}  // namespace longwave::attention
#endif  // HWY_ONCE
