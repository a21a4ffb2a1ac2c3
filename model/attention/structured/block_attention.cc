#include "model/attention/structured/block_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "model/attention/structured/block_arrays.h"
#include "model/attention/structured/corner_sums.h"
#include "model/attention/structured/strip_sums.h"

namespace longwave::attention {
namespace {

// Tokens of one block, gathered from a grid's rows or written back to them.
class BlockTokens {
 public:
  BlockTokens(const GridStructure& structure, int64_t block)
      : width_(structure.grid[kHorizontal]),
        block_width_(structure.block[kHorizontal]),
        y_(block / structure.blocks[kHorizontal] * structure.block[kVertical]),
        x_(block % structure.blocks[kHorizontal] * block_width_),
        rows_(std::min<int64_t>(structure.block[kVertical], structure.grid[kVertical] - y_)),
        columns_(std::min<int64_t>(block_width_, width_ - x_)) {}

  bool full() const { return rows_ * columns_ == kChunk; }

  // Calls fn(place in the block, token of the grid).
  template <typename Fn>
  void ForEach(const Fn& fn) const {
    for (int64_t row = 0; row < rows_; ++row)
      for (int64_t column = 0; column < columns_; ++column)
        fn(row * block_width_ + column, (y_ + row) * width_ + x_ + column);
  }

  // [kChunk][dim], zero beyond the grid.
  void Gather(const float* x, std::ptrdiff_t stride, int dim, float* tile) const {
    if (!full()) std::fill_n(tile, kChunk * dim, 0.0F);
    ForEach([&](int64_t place, int64_t token) {
      std::copy_n(x + token * stride, dim, tile + place * dim);
    });
  }

  // Which places hold a token, [kChunk].
  std::vector<bool> Inside() const {
    std::vector<bool> inside(kChunk);
    ForEach([&](int64_t place, int64_t) { inside[place] = true; });
    return inside;
  }

 private:
  int64_t width_, block_width_, y_, x_, rows_, columns_;
};

// Of the weights between a block of queries and the blocks of its box.
std::size_t TileFloats(const GridStructure& structure) {
  return structure.near.size() * kChunk * kChunk;
}

class BlockPasses {
 public:
  BlockPasses(const HeadProblem& problem, const GridStructure& structure)
      : problem_(problem),
        structure_(structure),
        base_(problem.workspace.Get(WorkOf(shape_, structure).workspace)),
        arrays_(shape_, structure.block_count(), base_),
        factors_(ValueFactors(input_, shape_.value_dim)),
        check_(input_.tokens, shape_.features) {}

  bool Run() {
    For(problem_.threading, structure_.block_count(), 8,
        [&](int64_t begin, int64_t end) { Load(begin, end); });
    float* const tiles = base_ + BlockArrays::FloatsPerBlock(shape_) * structure_.block_count();
    FillTiles(tiles);
    For(problem_.threading, structure_.block_count(), 4,
        [&](int64_t begin, int64_t end) { AddBox(tiles, begin, end); });
    AddCorners(shape_, structure_, arrays_, problem_.threading, tiles + TileFloats(structure_));
    for (const Axis axis : {kVertical, kHorizontal})
      AddStrips(shape_, structure_, axis, arrays_, problem_.threading);
    For(problem_.threading, structure_.block_count(), 8,
        [&](int64_t begin, int64_t end) { Write(begin, end); });
    return check_.passed();
  }

 private:
  // Features and values of blocks, and sums of nothing.
  void Load(int64_t begin, int64_t end) const {
    const AlignedFloats scratch(shape_.scratch_size());
    const AlignedFloats tokens(static_cast<std::size_t>(kChunk) *
                               std::max(shape_.dim, shape_.value_dim));
    for (int64_t b = begin; b < end; ++b) {
      const BlockTokens block(structure_, b);
      block.Gather(input_.k, input_.k_stride, shape_.dim, tokens.data());
      KeyFeatures(shape_, problem_.scale, tokens.data(), shape_.dim, kChunk,
                  problem_.projection.rows(), scratch.data(), arrays_.PhiK(b));
      block.Gather(input_.q, input_.q_stride, shape_.dim, tokens.data());
      QueryFeatures(shape_, problem_.scale, tokens.data(), shape_.dim, kChunk,
                    problem_.projection.columns(), scratch.data(), arrays_.PhiQ(b));
      block.Gather(input_.v, input_.v_stride, shape_.value_dim, tokens.data());
      PackValues(shape_, tokens.data(), shape_.value_dim, kChunk, factors_.data(),
                 arrays_.Values(b));
      if (!block.full()) ClearOutside(block, arrays_.PhiK(b));
      std::fill_n(arrays_.Out(b), kChunk * shape_.value_pad, 0.0F);
      std::fill_n(arrays_.Den(b), kChunk, 0.0F);
    }
  }

  // A place without a token is no key.
  void ClearOutside(const BlockTokens& block, float* phi) const {
    const std::vector<bool> inside = block.Inside();
    for (int f = 0; f < shape_.features_pad; ++f)
      for (int j = 0; j < kChunk; ++j)
        if (!inside[j]) phi[f * kChunk + j] = 0.0F;
  }

  // Weights of the box's blocks, [near][kChunk queries][kChunk keys].
  void FillTiles(float* tiles) const {
    const auto [height, width] = structure_.block;
    const int64_t columns = structure_.box_extent(kHorizontal);
    for (const auto& [y, x] : structure_.near)
      for (int i = 0; i < kChunk; ++i)
        for (int row = 0; row < height; ++row) {
          const int64_t dy = y * height + row - i / width, dx = x * width - i % width;
          const float* const first =
              &structure_.box[(dy + structure_.box_center(kVertical)) * columns + dx +
                              structure_.box_center(kHorizontal)];
          tiles = std::copy_n(first, width, tiles);
        }
  }

  void AddBox(const float* tiles, int64_t begin, int64_t end) const {
    const AlignedFloats scratch(shape_.scratch_size());
    const auto [height, width] = structure_.blocks;
    for (int64_t b = begin; b < end; ++b) {
      for (std::size_t near = 0; near < structure_.near.size(); ++near) {
        const auto& [dy, dx] = structure_.near[near];
        const int64_t y = b / width + dy, x = b % width + dx;
        if (y < 0 || y >= height || x < 0 || x >= width) continue;
        const int64_t key = y * width + x;
        NearTile(shape_, arrays_.PhiQ(b), arrays_.PhiK(key), arrays_.Values(key),
                 tiles + near * kChunk * kChunk, /*c_stride=*/kChunk, scratch.data(),
                 arrays_.Out(b), arrays_.Den(b));
      }
    }
  }

  void Write(int64_t begin, int64_t end) {
    std::vector<float> rows(static_cast<std::size_t>(kChunk) * shape_.value_dim);
    for (int64_t b = begin; b < end; ++b) {
      const float* const den = arrays_.Den(b);
      Divide(shape_, arrays_.Out(b), den, factors_.data(), kChunk, rows.data(), shape_.value_dim);
      BlockTokens(structure_, b).ForEach([&](int64_t place, int64_t token) {
        check_.Add(den[place]);
        std::copy_n(&rows[place * shape_.value_dim], shape_.value_dim,
                    input_.out + token * input_.out_stride);
      });
    }
  }

  const HeadProblem problem_;
  const ChunkShape& shape_ = problem_.shape;
  const HeadInput& input_ = problem_.input;
  const GridStructure& structure_;
  float* const base_;
  const BlockArrays arrays_;
  const std::vector<float> factors_;
  DenominatorCheck check_;
};

}  // namespace

bool BlockAttention(const HeadProblem& problem, const GridStructure& structure) {
  return BlockPasses(problem, structure).Run();
}

BlockWork WorkOf(const ChunkShape& shape, const GridStructure& structure) {
  const double tile = 2.0 * kChunk * kChunk * (shape.features_pad + shape.value_pad);
  const double blocks = static_cast<double>(structure.block_count());
  BlockWork work;
  work.tile_flop = tile * static_cast<double>(structure.DirectTiles()) +
                   4.0 * kChunk * blocks * shape.dim_pad * shape.features_pad +
                   CornerFlop(shape, structure);
  for (const Axis axis : {kVertical, kHorizontal})
    work.line_flop += StripFlop(shape, structure, axis);
  work.states =
      BlockArrays::FloatsPerBlock(shape) * static_cast<std::size_t>(structure.block_count()) +
      CornerFloats(shape, structure);
  work.workspace = work.states + TileFloats(structure);
  return work;
}

std::size_t ScratchFloats(const ChunkShape& shape, const GridStructure& structure, int threads) {
  return std::max(StripFloats(shape, structure, kVertical, threads),
                  StripFloats(shape, structure, kHorizontal, threads));
}

}  // namespace longwave::attention
