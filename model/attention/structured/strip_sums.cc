#include "model/attention/structured/strip_sums.h"

#include <algorithm>
#include <cmath>

#include "model/attention/structured/line_kernels.h"

namespace longwave::attention {
namespace {

// Features at a time, of a multiple of them: a block's states stay in the core's caches.
constexpr int kSliceFeatures = 16;

// A strip on one side of the queries.
struct Strip {
  int side = 0;
  int64_t gap = 0;             // blocks from a query's to the first that the strip holds
  std::vector<float> weights;  // [lines of queries][lines of keys of all near blocks]
  SideFactors factors;
};

// The sizes of the strips along an axis and of what their sums take.
struct StripSizes {
  StripSizes(const ChunkShape& shape, const GridStructure& structure, Axis axis)
      : lines(structure.block[1 - axis]),
        before(structure.sides[1 - axis][0].near_blocks),
        near(before + structure.sides[1 - axis][1].near_blocks + 1),
        along(structure.blocks[axis]),
        across(structure.blocks[1 - axis]),
        slots(std::min(near, across)),
        block_floats(static_cast<std::size_t>(lines) *
                     FeatureSlice{0, kSliceFeatures}.state_size(shape)) {}

  // Of the states that a range of blocks of queries keeps; its sums take block_floats more.
  std::size_t RingFloats() const { return static_cast<std::size_t>(slots * along) * block_floats; }

  const int64_t lines;   // of a block
  const int64_t before;  // blocks of the box before the queries', across
  const int64_t near;    // blocks of the box across
  const int64_t along;   // blocks of the grid
  const int64_t across;
  const int64_t slots;  // blocks across whose states are kept, and the least range of queries that
                        // is worth loading them
  const std::size_t block_floats;  // of the states of a block's lines, some features at a time
};

class StripPass {
 public:
  StripPass(const ChunkShape& shape, const GridStructure& structure, Axis axis,
            const BlockArrays& arrays)
      : shape_(shape),
        structure_(structure),
        axis_(axis),
        other_(1 - axis),
        arrays_(arrays),
        sizes_(shape, structure, axis) {}

  void Run(Threading threading) {
    std::vector<Strip> strips;
    for (const int side : {0, 1})
      if (structure_.sides[axis_][side].far) strips.push_back(MakeStrip(side));
    // Constant strips share the states of their lines.
    const bool share = std::all_of(strips.begin(), strips.end(),
                                   [](const Strip& strip) { return strip.factors.keys.empty(); });
    if (share) {
      if (!strips.empty()) RunShared(strips, threading);
      return;
    }
    for (const Strip& strip : strips) RunShared({strip}, threading);
  }

 private:
  Strip MakeStrip(int side) const {
    const GridSide& from = structure_.sides[axis_][side];
    Strip strip{side, from.near_blocks + 1, {}, SideFactors(structure_, axis_, side)};
    const int64_t center = structure_.box_center(other_);
    for (int64_t i = 0; i < sizes_.lines; ++i)
      for (int64_t j = 0; j < sizes_.near * sizes_.lines; ++j) {
        const int64_t across = j - sizes_.before * sizes_.lines - i;
        strip.weights.push_back(static_cast<float>(std::exp(from.log_weights[center + across])));
      }
    return strip;
  }

  int64_t Block(int64_t along, int64_t across) const {
    return axis_ == kHorizontal ? across * structure_.blocks[kHorizontal] + along
                                : along * structure_.blocks[kHorizontal] + across;
  }

  Line LineOf(int64_t line) const {
    const int width = structure_.block[kHorizontal];
    if (axis_ == kHorizontal) return {static_cast<int>(line) * width, 1, width};
    return {static_cast<int>(line), width, structure_.block[kVertical]};
  }

  void RunShared(const std::vector<Strip>& strips, Threading threading) const {
    // A range begins with the states of what is near its first blocks.
    For(threading, sizes_.across, sizes_.slots, [&](int64_t begin, int64_t end) {
      for (int f = 0; f < shape_.features_pad; f += kSliceFeatures)
        RunRange(strips, {f, kSliceFeatures}, begin, end);
    });
  }

  // Blocks of queries from begin to end across the strips.
  void RunRange(const std::vector<Strip>& strips, const FeatureSlice& slice, int64_t begin,
                int64_t end) const {
    const std::size_t size = slice.state_size(shape_);
    const std::size_t block_size = sizes_.block_floats;
    const int64_t lines = sizes_.lines, before = sizes_.before, along = sizes_.along;
    const AlignedFloats ring(sizes_.RingFloats());
    const AlignedFloats sums(block_size);
    // Of the lines of block `at` in the blocks at `place` across.
    const auto states = [&](int64_t place, int64_t at) {
      return ring.data() + static_cast<std::size_t>(place % sizes_.slots * along + at) * block_size;
    };
    const float* const factor =
        strips.front().factors.keys.empty() ? nullptr : strips.front().factors.keys.data();
    int64_t loaded = std::max<int64_t>(0, begin - before);
    for (int64_t place = begin; place < end; ++place) {
      const int64_t first = std::max<int64_t>(0, place - before);
      const int64_t last = std::min(sizes_.across, place - before + sizes_.near) - 1;
      for (; loaded <= last; ++loaded) {
        for (int64_t at = 0; at < along; ++at) {
          const int64_t block = Block(at, loaded);
          for (int64_t line = 0; line < lines; ++line)
            LineState(shape_, LineOf(line), slice, arrays_.PhiK(block), arrays_.Values(block),
                      factor, states(loaded, at) + line * size);
        }
      }
      for (const Strip& strip : strips) {
        std::fill_n(sums.data(), block_size, 0.0F);
        for (int64_t n = strip.gap; n < along; ++n) {
          // The block of keys that comes into sight, farthest first, and the queries that see it
          // so.
          const int64_t key = strip.side == 1 ? along - 1 - (n - strip.gap) : n - strip.gap;
          const int64_t query = strip.side == 1 ? key - strip.gap : key + strip.gap;
          if (strip.factors.decay != 1.0F)
            for (std::size_t i = 0; i < block_size; ++i) sums.data()[i] *= strip.factors.decay;
          for (int64_t near = first; near <= last; ++near)
            CombineStates(static_cast<int>(lines), &strip.weights[(near - place + before) * lines],
                          sizes_.near * lines, states(near, key), size, sums.data());
          const int64_t block = Block(query, place);
          for (int64_t line = 0; line < lines; ++line)
            LineProduct(shape_, LineOf(line), slice, arrays_.PhiQ(block), sums.data() + line * size,
                        strip.factors.queries.empty() ? nullptr : strip.factors.queries.data(),
                        arrays_.Out(block), arrays_.Den(block));
        }
      }
    }
  }

  const ChunkShape& shape_;
  const GridStructure& structure_;
  const Axis axis_;
  const int other_;
  const BlockArrays& arrays_;
  const StripSizes sizes_;
};

}  // namespace

void AddStrips(const ChunkShape& shape, const GridStructure& structure, Axis axis,
               const BlockArrays& arrays, Threading threading) {
  StripPass(shape, structure, axis, arrays).Run(threading);
}

std::size_t StripFloats(const ChunkShape& shape, const GridStructure& structure, Axis axis,
                        int threads) {
  const auto& sides = structure.sides;
  if (!sides[axis][0].far && !sides[axis][1].far) return 0;
  const StripSizes sizes(shape, structure, axis);
  const int64_t ranges = std::min<int64_t>(threads, (sizes.across + sizes.slots - 1) / sizes.slots);
  return static_cast<std::size_t>(ranges) * (sizes.RingFloats() + sizes.block_floats);
}

double StripFlop(const ChunkShape& shape, const GridStructure& structure, Axis axis) {
  const int other = 1 - axis;
  const double state = 2.0 * shape.features_pad * shape.value_pad;
  const double along = static_cast<double>(structure.blocks[axis]);
  const double across = static_cast<double>(structure.blocks[other]);
  double near = 0;  // pairs of blocks across
  for (const int side : {0, 1})
    for (int64_t n = 1; n <= structure.sides[other][side].near_blocks; ++n)
      near += across - static_cast<double>(n);
  near += across;
  double flop = 0;
  int groups = 0;
  bool constant = false;
  for (const GridSide& side : structure.sides[axis]) {
    if (!side.far) continue;
    const double pairs = along - 1 - static_cast<double>(side.near_blocks);
    const double lines = structure.block[other];
    flop += state * pairs * (near * lines * lines + across * kChunk);
    if (side.rate > 0 || !constant) ++groups;
    constant |= side.rate == 0;
  }
  return flop + groups * state * along * across * kChunk;
}

}  // namespace longwave::attention
