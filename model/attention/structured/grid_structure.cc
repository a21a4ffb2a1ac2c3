#include "model/attention/structured/grid_structure.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "model/attention/position_bias.h"
#include "model/attention/structured/chunk_kernels.h"
#include "model/attention/structured/table_structure.h"

namespace longwave::attention {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Faster decays are no structure worth having: after a block nothing is left.
constexpr double kLargestRate = 8.0;

// The table of a head.
struct Table {
  const float* b;
  int64_t height;
  int64_t width;

  double At(int64_t dy, int64_t dx) const {
    return b[(dy + height - 1) * (2 * width - 1) + dx + width - 1];
  }
  int64_t size(int axis) const { return axis == kVertical ? height : width; }
  // At `along` on one axis and `across` on the other.
  double At(int axis, int64_t along, int64_t across) const {
    return axis == kVertical ? At(along, across) : At(across, along);
  }
};

// What is left of b + rate |distance| over the distances of a tail: what matters lies between low
// and high, and what does not allows nothing above `ceiling`.
struct Residual {
  double low = kInfinity;
  double high = -kInfinity;
  double ceiling = kInfinity;
  bool drops_small = false;  // weights that are not 0 among them

  void Add(double b, double decay, double floor) {
    if (b >= floor) {
      low = std::min(low, b + decay);
      high = std::max(high, b + decay);
    } else {
      // A weight that is nearly nothing may become e times the threshold.
      ceiling = std::min(ceiling, floor + 1.0 + decay);
      drops_small |= b > -kInfinity;
    }
  }
  bool empty() const { return high == -kInfinity; }
  // -infinity where nothing matters.
  double middle() const { return empty() ? -kInfinity : 0.5 * (low + high); }
  double error() const { return empty() ? 0.0 : std::expm1(0.5 * (high - low)); }
  bool Fits(double relative_error) const {
    return empty() || (error() <= relative_error && middle() <= ceiling);
  }
};

struct Tail {
  double rate = 0.0;
  int64_t begin = 0;  // the first distance from which on it holds
};

// The last distance straight along the axis that matters.
int64_t LastMattering(const Table& table, int axis, int sign, double floor) {
  int64_t last = table.size(axis) - 1;
  while (last > 0 && table.At(axis, sign * last, 0) < floor) --last;
  return last;
}

// The decay of one side by least squares over distances straight along the axis; 0 where they do
// not fall.
double FitRate(const Table& table, int axis, int sign, int64_t first, int64_t last, double floor) {
  double count = 0, sum_t = 0, sum_b = 0;
  for (int64_t t = first; t <= last; ++t) {
    const double b = table.At(axis, sign * t, 0);
    if (b < floor) return 0.0;
    ++count;
    sum_t += static_cast<double>(t);
    sum_b += b;
  }
  double covariance = 0, variance = 0;
  for (int64_t t = first; t <= last; ++t) {
    const double distance = static_cast<double>(t) - sum_t / count;
    covariance += distance * (table.At(axis, sign * t, 0) - sum_b / count);
    variance += distance * distance;
  }
  const double rate = variance > 0 ? -covariance / variance : 0.0;
  const bool flat = rate * static_cast<double>(last) < 1e-7;
  return flat || rate > kLargestRate ? 0.0 : rate;
}

Tail FindTail(const Table& table, int axis, int sign, double rate, double floor,
              double relative_error) {
  const int64_t others = table.size(1 - axis);
  std::vector<Residual> residuals(2 * others - 1);
  int64_t begin = table.size(axis);
  for (int64_t t = begin - 1; t >= 1; --t) {
    const double decay = rate * static_cast<double>(t);
    bool fits = true;
    for (int64_t u = 1 - others; u < others; ++u) {
      Residual& residual = residuals[u + others - 1];
      residual.Add(table.At(axis, sign * t, u), decay, floor);
      fits = fits && residual.Fits(relative_error);
    }
    if (!fits) break;
    begin = t;
  }
  return {rate, begin};
}

Tail FindTail(const Table& table, int axis, int sign, double floor, double relative_error) {
  const Tail constant = FindTail(table, axis, sign, 0.0, floor, relative_error);
  const int64_t last = LastMattering(table, axis, sign, floor);
  Tail best = constant;
  // The farther half tells where the decay begins, all of it what it is.
  for (int64_t first = last / 2, round = 0; round < 2; ++round) {
    const double rate = FitRate(table, axis, sign, first, last, floor);
    if (rate == 0.0) break;
    const Tail decay = FindTail(table, axis, sign, rate, floor, relative_error);
    if (decay.begin < constant.begin && (round == 0 || decay.begin <= best.begin)) best = decay;
    first = decay.begin;
  }
  return best;
}

// Blocks as square as the grid allows.
std::array<int, 2> ChooseBlock(int64_t height, int64_t width) {
  constexpr int kSide = 8;
  static_assert(kSide * kSide == kChunk);
  const auto cover = [](int64_t size, int most) {
    int side = 1;
    while (side < most && side < size) side *= 2;
    return side;
  };
  const int wide = cover(width, kSide);
  if (wide < kSide) return {kChunk / wide, wide};
  const int high = cover(height, kSide);
  return {high, kChunk / high};
}

class Builder {
 public:
  Builder(const Table& table, const StructureOptions& options) : table_(table), options_(options) {
    out_.grid = {table.height, table.width};
    out_.block = ChooseBlock(table.height, table.width);
    out_.threshold = options.threshold;
    out_.reference = -kInfinity;
    const int64_t entries = (2 * table.height - 1) * (2 * table.width - 1);
    for (int64_t p = 0; p < entries; ++p)
      out_.reference = std::max(out_.reference, static_cast<double>(table.b[p]));
    floor_ = table.At(0, 0) - options.threshold;
    for (const int axis : {kVertical, kHorizontal})
      out_.blocks[axis] = (out_.grid[axis] + out_.block[axis] - 1) / out_.block[axis];
  }

  std::optional<GridStructure> Build() {
    bool any = false;
    for (const int axis : {kVertical, kHorizontal}) {
      for (const int side : {0, 1}) {
        GridSide& out = out_.sides[axis][side];
        const Tail tail = FindTail(table_, axis, Sign(side), floor_, options_.relative_error);
        const int64_t block = out_.block[axis];
        out.rate = tail.rate;
        out.near_blocks = std::min((tail.begin + block - 2) / block, out_.blocks[axis] - 1);
        any = any || out.near_blocks < out_.blocks[axis] - 1;
      }
    }
    if (!any) return std::nullopt;
    for (const int axis : {kVertical, kHorizontal})
      for (const int side : {0, 1}) FillStrip(axis, side);
    for (const int vertical : {0, 1})
      for (const int horizontal : {0, 1})
        if (!FillCorner(vertical, horizontal)) return std::nullopt;
    FillBox();
    return std::move(out_);
  }

 private:
  static int Sign(int side) { return side == 0 ? -1 : 1; }

  // The distance of a side's last block of the box: what the weights beyond are counted from.
  double Origin(int axis, int side) const {
    const GridSide& from = out_.sides[axis][side];
    return from.rate * static_cast<double>(from.near_blocks * out_.block[axis]);
  }
  // The least distance beyond the box; the grid's size where the box holds all of its blocks.
  int64_t FirstFar(int axis, int side) const {
    const int64_t near = out_.sides[axis][side].near_blocks;
    return near == out_.blocks[axis] - 1 ? out_.grid[axis] : near * out_.block[axis] + 1;
  }

  void Count(const Residual& residual) {
    out_.relative_error = std::max(out_.relative_error, residual.error());
    out_.drops_small |= residual.drops_small || (!residual.empty() && residual.ceiling < kInfinity);
  }

  void FillStrip(int axis, int side) {
    GridSide& out = out_.sides[axis][side];
    const int other = 1 - axis;
    out.log_weights.assign(out_.box_extent(other), -kInfinity);
    for (int64_t p = 0; p < out_.box_extent(other); ++p) {
      const int64_t u = p - out_.box_center(other);
      if (std::abs(u) >= table_.size(other)) continue;
      Residual residual;
      for (int64_t t = FirstFar(axis, side); t < table_.size(axis); ++t)
        residual.Add(table_.At(axis, Sign(side) * t, u), out.rate * static_cast<double>(t), floor_);
      Count(residual);
      out.log_weights[p] = residual.middle() - Origin(axis, side) - out_.reference;
      out.far |= !residual.empty();
    }
  }

  bool FillCorner(int vertical, int horizontal) {
    Residual residual;
    const double rate_y = out_.sides[kVertical][vertical].rate;
    const double rate_x = out_.sides[kHorizontal][horizontal].rate;
    for (int64_t y = FirstFar(kVertical, vertical); y < table_.height; ++y)
      for (int64_t x = FirstFar(kHorizontal, horizontal); x < table_.width; ++x)
        residual.Add(table_.At(Sign(vertical) * y, Sign(horizontal) * x),
                     rate_y * static_cast<double>(y) + rate_x * static_cast<double>(x), floor_);
    Count(residual);
    out_.corners[vertical][horizontal] = residual.middle() - Origin(kVertical, vertical) -
                                         Origin(kHorizontal, horizontal) - out_.reference;
    return residual.Fits(2 * options_.relative_error);
  }

  void FillBox() {
    const int64_t rows = out_.box_extent(kVertical), columns = out_.box_extent(kHorizontal);
    const int64_t center_y = out_.box_center(kVertical), center_x = out_.box_center(kHorizontal);
    out_.box.assign(rows * columns, 0.0F);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t column = 0; column < columns; ++column) {
        const int64_t dy = row - center_y, dx = column - center_x;
        if (std::abs(dy) >= table_.height || std::abs(dx) >= table_.width) continue;
        out_.box[row * columns + column] = Weight(table_.At(dy, dx), out_.reference);
      }
    }
    const auto [block_y, block_x] = out_.block;
    const auto empty = [&](int64_t y, int64_t x) {
      for (int64_t row = y * block_y + 1 - block_y; row < (y + 1) * block_y; ++row) {
        const float* const first =
            &out_.box[(row + center_y) * columns + x * block_x + 1 - block_x + center_x];
        if (std::any_of(first, first + 2 * block_x - 1, [](float w) { return w > 0; }))
          return false;
      }
      return true;
    };
    const auto& [ys, xs] = out_.sides;
    for (int64_t y = -ys[0].near_blocks; y <= ys[1].near_blocks; ++y)
      for (int64_t x = -xs[0].near_blocks; x <= xs[1].near_blocks; ++x)
        if (!empty(y, x)) out_.near.push_back({y, x});
  }

  const Table table_;
  const StructureOptions options_;
  double floor_ = 0.0;
  GridStructure out_;
};

}  // namespace

double GridStructure::ErrorBound(double spread) const {
  double bound = 2.0 * relative_error / (1.0 - relative_error);
  if (drops_small)
    bound += static_cast<double>(grid[0] * grid[1]) * std::exp(spread - threshold + 1);
  return bound;
}

int64_t GridStructure::DirectTiles() const {
  int64_t tiles = 0;
  for (const auto& [y, x] : near)
    tiles += std::max<int64_t>(0, blocks[0] - std::abs(y)) *
             std::max<int64_t>(0, blocks[1] - std::abs(x));
  return tiles;
}

std::optional<GridStructure> AnalyzeGrid(const float* b, int64_t height, int64_t width) {
  return Builder({b, height, width}, StructureOptions{}).Build();
}

}  // namespace longwave::attention
