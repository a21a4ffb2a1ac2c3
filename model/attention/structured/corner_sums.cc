#include "model/attention/structured/corner_sums.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <vector>

namespace longwave::attention {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();

// [vertical side, horizontal side].
using Corner = std::array<int, 2>;

// Corners whose keys share one state of a block: all constant ones, any other alone.
std::vector<std::vector<Corner>> Groups(const GridStructure& structure) {
  std::vector<Corner> constant;
  std::vector<std::vector<Corner>> groups;
  for (const int y : {0, 1}) {
    for (const int x : {0, 1}) {
      if (structure.corners[y][x] == kNothing) continue;
      const bool decays =
          structure.sides[kVertical][y].rate > 0 || structure.sides[kHorizontal][x].rate > 0;
      if (decays) {
        groups.push_back({{y, x}});
      } else {
        constant.push_back({y, x});
      }
    }
  }
  if (!constant.empty()) groups.push_back(constant);
  return groups;
}

// Factors by place of a corner's keys or queries: products of its two sides'. Empty: 1.
std::vector<float> Product(const std::vector<float>& a, const std::vector<float>& b) {
  if (a.empty()) return b;
  if (b.empty()) return a;
  std::vector<float> product(a.size());
  std::transform(a.begin(), a.end(), b.begin(), product.begin(), std::multiplies<float>());
  return product;
}

class CornerPass {
 public:
  CornerPass(const ChunkShape& shape, const GridStructure& structure, const BlockArrays& arrays,
             Threading threading, float* memory)
      : shape_(shape),
        structure_(structure),
        arrays_(arrays),
        threading_(threading),
        size_(shape.state_size()),
        keys_(memory),
        rows_(keys_ + structure.block_count() * size_),
        sums_(rows_ + structure.block_count() * size_) {}

  void Run() {
    for (const std::vector<Corner>& group : Groups(structure_)) {
      const auto [y, x] = group.front();
      const SideFactors vertical(structure_, kVertical, y), horizontal(structure_, kHorizontal, x);
      MakeStates(Product(vertical.keys, horizontal.keys));
      std::fill_n(sums_, structure_.block_count() * size_, 0.0F);
      for (const Corner& corner : group) AddCorner(corner);
      Multiply(Product(vertical.queries, horizontal.queries));
    }
  }

 private:
  static const float* OrNull(const std::vector<float>& factors) {
    return factors.empty() ? nullptr : factors.data();
  }

  void MakeStates(const std::vector<float>& factors) {
    For(threading_, structure_.block_count(), 8, [&](int64_t begin, int64_t end) {
      const AlignedFloats scratch(shape_.scratch_size());
      for (int64_t b = begin; b < end; ++b)
        ChunkState(shape_, arrays_.PhiK(b), arrays_.Values(b), OrNull(factors), scratch.data(),
                   keys_ + b * size_);
    });
  }

  void Multiply(const std::vector<float>& factors) {
    For(threading_, structure_.block_count(), 8, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b)
        FarProduct(shape_, arrays_.PhiQ(b), sums_ + b * size_, OrNull(factors), arrays_.Out(b),
                   arrays_.Den(b));
    });
  }

  // sums_ += the corner's weight times the states that lie in it.
  void AddCorner(const Corner& corner) {
    const auto [height, width] = structure_.blocks;
    const auto [y, x] = corner;
    std::fill_n(rows_, structure_.block_count() * size_, 0.0F);
    For(threading_, height, 1, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row)
        Sweep(kHorizontal, x, 1.0, keys_ + row * width * size_, rows_ + row * width * size_, size_);
    });
    const double weight = std::exp(structure_.corners[y][x]);
    For(threading_, width, 1, [&](int64_t begin, int64_t end) {
      for (int64_t column = begin; column < end; ++column)
        Sweep(kVertical, y, weight, rows_ + column * size_, sums_ + column * size_, width * size_);
    });
  }

  // Adds to the block at each place along the axis the sum of the blocks beyond its box on that
  // side, times weight. Sums run in float64: there may be many blocks.
  void Sweep(int axis, int side, double weight, const float* from, float* to,
             int64_t stride) const {
    const int64_t count = structure_.blocks[axis];
    const int64_t gap = structure_.sides[axis][side].near_blocks + 1;
    const double decay = std::exp(-structure_.sides[axis][side].rate * structure_.block[axis]);
    std::vector<double> sum(size_);
    for (int64_t n = gap; n < count; ++n) {
      const int64_t key = side == 1 ? count - 1 - (n - gap) : n - gap;
      const int64_t query = side == 1 ? key - gap : key + gap;
      const float* const x = from + key * stride;
      float* const y = to + query * stride;
      for (int64_t i = 0; i < size_; ++i) {
        sum[i] = decay * sum[i] + x[i];
        y[i] += static_cast<float>(weight * sum[i]);
      }
    }
  }

  const ChunkShape& shape_;
  const GridStructure& structure_;
  const BlockArrays& arrays_;
  const Threading threading_;
  const int64_t size_;  // of a state
  // States of all blocks: of their keys, summed along rows, and those for the queries.
  float* const keys_;
  float* const rows_;
  float* const sums_;
};

}  // namespace

void AddCorners(const ChunkShape& shape, const GridStructure& structure, const BlockArrays& arrays,
                Threading threading, float* memory) {
  CornerPass(shape, structure, arrays, threading, memory).Run();
}

std::size_t CornerFloats(const ChunkShape& shape, const GridStructure& structure) {
  if (Groups(structure).empty()) return 0;
  return 3 * static_cast<std::size_t>(structure.block_count()) * shape.state_size();
}

double CornerFlop(const ChunkShape& shape, const GridStructure& structure) {
  const double state = 2.0 * shape.features_pad * shape.value_pad;
  return static_cast<double>(Groups(structure).size()) * 2 * state * kChunk *
         static_cast<double>(structure.block_count());
}

}  // namespace longwave::attention
