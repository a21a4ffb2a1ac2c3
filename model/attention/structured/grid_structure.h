#ifndef LONGWAVE_MODEL_ATTENTION_STRUCTURED_GRID_STRUCTURE_H_
#define LONGWAVE_MODEL_ATTENTION_STRUCTURED_GRID_STRUCTURE_H_

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

// What the bias table of one head of a grid looks like in blocks that cost a constant per token.
//
// The grid is cut into blocks of kChunk tokens. Around a query's block lies a box of blocks that
// are computed directly. Beyond it, on each of the four sides, exp(b) may go on as a constant or as
// an exponential of the distance:
//
//   corner | strip  | corner      strip:  exp(b[dy, dx]) = g(dy) exp(-rate |dx|), any g
//   -------+--------+-------      corner: exp(b[dy, dx]) = g exp(-rate_y |dy| - rate_x |dx|)
//   strip  |  box   | strip
//   -------+--------+-------      So are tables that are clipped on both axes (which is what any
//   table corner | strip  | corner      is on a grid larger than itself), windows, and Manhattan
//   decays.
namespace longwave::attention {

enum Axis : int { kVertical = 0, kHorizontal = 1 };

// One direction away from the query.
struct GridSide {
  // Blocks of the box on this side, beside the query's own.
  int64_t near_blocks = 0;
  // Per token of distance, >= 0, of all that lies beyond the box.
  double rate = 0.0;
  // Whether anything beyond the box has a weight.
  bool far = false;
  // [distances of the box on the other axis]: log g, for a distance of near_blocks blocks.
  std::vector<double> log_weights;
};

struct GridStructure {
  std::array<int64_t, 2> grid = {};    // height, width
  std::array<int, 2> block = {};       // height, width; their product is kChunk
  std::array<int64_t, 2> blocks = {};  // of the grid
  // [axis][0]: keys before the query, [axis][1]: after it.
  std::array<std::array<GridSide, 2>, 2> sides;
  // [vertical side][horizontal side]: log g of a corner, for distances of near_blocks blocks.
  std::array<std::array<double, 2>, 2> corners = {};

  // exp(b - reference) within the box, [box_extent(0)][box_extent(1)], distance 0 at its
  // box_center().
  std::vector<float> box;
  // Offsets (vertical, horizontal) of its blocks with any weight.
  std::vector<std::array<int64_t, 2>> near;

  // The certificate, as TableStructure has it.
  double reference = 0.0;
  double relative_error = 0.0;
  double threshold = 0.0;
  bool drops_small = false;

  int64_t block_count() const { return blocks[0] * blocks[1]; }
  int64_t box_center(int axis) const { return (sides[axis][0].near_blocks + 1) * block[axis] - 1; }
  int64_t box_extent(int axis) const {
    return box_center(axis) + (sides[axis][1].near_blocks + 1) * block[axis];
  }

  // Bound on the error relative to max|v|, rounding not included; see TableStructure.
  double ErrorBound(double spread) const;

  // Direct tiles over all blocks of queries.
  int64_t DirectTiles() const;
};

// b: float32 [2 height - 1, 2 width - 1] of one head, distance 0 in the middle; -inf is legal
// except there. Nothing where no side goes on as a constant or an exponential before the grid ends.
// Linear in the table's size.
std::optional<GridStructure> AnalyzeGrid(const float* b, int64_t height, int64_t width);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_STRUCTURED_GRID_STRUCTURE_H_
