#include "model/attention/structured/table_structure.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "model/attention/structured/chunk_kernels.h"
#include "model/attention/structured/exponential_fit.h"

namespace longwave::attention {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// One side of a table, t = 1, 2, ... up from the query in either direction; the edge value holds
// beyond `last`.
struct Side {
  std::function<double(int64_t)> bias;  // any t >= 0
  int64_t last = 0;                     // the last t before the edge holds: L - 1
};

// What a tile of a side holds.
struct TileRange {
  double low = kInfinity;    // over finite weights
  double high = -kInfinity;  // -infinity: every distance is forbidden
  bool mixed = false;        // some distances forbidden, some not
};

// Pieces of one side, in offsets counted up from the query.
struct SideStructure {
  std::vector<int64_t> direct;
  std::vector<FarTerm> terms;
  double relative_error = 0.0;
  bool drops_small = false;
  int64_t max_tokens = kOpen;
};

int64_t FirstDistance(int64_t offset) { return offset * kChunk - (kChunk - 1); }
int64_t LastDistance(int64_t offset) { return offset * kChunk + (kChunk - 1); }

// The offset from which on every tile lies beyond the table's last entry.
int64_t EdgeOffset(const Side& side) { return (side.last + kChunk - 1) / kChunk + 1; }

std::vector<TileRange> ScanTiles(const Side& side) {
  const int64_t edge = EdgeOffset(side);
  std::vector<TileRange> tiles(edge + 1);
  for (int64_t offset = 1; offset <= edge; ++offset) {
    TileRange& tile = tiles[offset];
    bool forbidden = false;
    for (int64_t t = FirstDistance(offset); t <= LastDistance(offset); ++t) {
      const double b = side.bias(t);
      if (b == -kInfinity) {
        forbidden = true;
        continue;
      }
      tile.low = std::min(tile.low, b);
      tile.high = std::max(tile.high, b);
    }
    tile.mixed = forbidden && tile.high > -kInfinity;
  }
  return tiles;
}

// The last offset that matters: beyond it every weight is zero or below the floor. -1: the edge
// weight itself matters.
int64_t LastMatteringOffset(const std::vector<TileRange>& tiles, double floor) {
  int64_t last = static_cast<int64_t>(tiles.size()) - 1;
  if (tiles[last].high >= floor) return -1;
  while (last > 0 && tiles[last].high < floor) --last;
  return last;
}

// Straight line through b over [first, last] by least squares, and its largest deviation where b is
// at or above the floor.
struct Line {
  double slope = 0.0;
  double intercept = 0.0;
  double deviation = kInfinity;
};

Line FitLine(const Side& side, int64_t first, int64_t last, double floor) {
  double count = 0, sum_t = 0, sum_b = 0;
  for (int64_t t = first; t <= last; ++t) {
    const double b = side.bias(t);
    if (b < floor) continue;
    ++count;
    sum_t += static_cast<double>(t);
    sum_b += b;
  }
  if (count < 2) return {};
  const double mean_t = sum_t / count;
  const double mean_b = sum_b / count;
  double covariance = 0, variance = 0;
  for (int64_t t = first; t <= last; ++t) {
    const double b = side.bias(t);
    if (b < floor) continue;
    covariance += (static_cast<double>(t) - mean_t) * (b - mean_b);
    variance += (static_cast<double>(t) - mean_t) * (static_cast<double>(t) - mean_t);
  }
  Line line;
  line.slope = covariance / variance;
  line.intercept = mean_b - line.slope * mean_t;
  line.deviation = 0.0;
  for (int64_t t = first; t <= last; ++t) {
    const double b = side.bias(t);
    const double fit = line.intercept + line.slope * static_cast<double>(t);
    if (b >= floor) {
      line.deviation = std::max(line.deviation, std::abs(std::expm1(fit - b)));
    } else if (fit > floor + 1.0) {
      line.deviation = kInfinity;  // a weight that is nearly nothing would become something
    }
  }
  return line;
}

// The far part as one exponential from `begin` on, if there is one. `last_offset`:
// LastMatteringOffset, or -1.
bool FindExponentialTail(const Side& side, const StructureOptions& options, double floor,
                         double reference, int64_t last_offset, SideStructure& out) {
  const bool edge_matters = last_offset < 0;
  const int64_t last = edge_matters ? side.last : std::min(side.last, LastDistance(last_offset));
  for (int64_t begin = 1; begin <= 8 && FirstDistance(begin) + 4 * kChunk < last; begin *= 2) {
    const Line line = FitLine(side, FirstDistance(begin), last, floor);
    if (!(line.deviation <= options.relative_error) || line.slope >= 0.0) continue;
    for (int64_t offset = 1; offset < begin; ++offset) out.direct.push_back(offset);
    out.terms.push_back({begin, kOpen, -line.slope, line.intercept - reference});
    out.relative_error = std::max(out.relative_error, line.deviation);
    // Beyond the table the edge value holds, the exponential does not: fine only where both are
    // nothing.
    if (edge_matters) out.max_tokens = side.last + 1;
    return true;
  }
  return false;
}

// The far part as a sum of exponentials.
bool FindSmoothTail(const Side& side, const StructureOptions& options, double floor,
                    double reference, int64_t last_offset, SideStructure& out) {
  const int64_t last = last_offset < 0 ? side.last : std::min(side.last, LastDistance(last_offset));
  const auto weight = [&](int64_t t) { return std::exp(side.bias(t) - reference); };
  for (const int64_t begin : {2, 3, 5}) {
    const int64_t first = FirstDistance(begin);
    if (first + 16 * kChunk >= last) return false;
    const std::vector<Exponential> sum = FitExponentials(
        weight, first, last, options.max_exponentials, 0.5 * options.relative_error);
    if (sum.empty()) continue;
    double worst = 0.0;
    for (int64_t t = first; t <= last && worst <= options.relative_error; ++t) {
      const double b = side.bias(t);
      if (b < floor) return false;  // not smooth to the end: -inf or a cliff
      double fit = 0.0;
      for (const Exponential& term : sum)
        fit += term.weight * std::exp(-term.rate * static_cast<double>(t));
      worst = std::max(worst, std::abs(fit / std::exp(b - reference) - 1.0));
    }
    if (worst > options.relative_error) continue;
    for (int64_t offset = 1; offset < begin; ++offset) out.direct.push_back(offset);
    for (const Exponential& term : sum)
      out.terms.push_back({begin, kOpen, term.rate, std::log(term.weight)});
    out.relative_error = std::max(out.relative_error, worst);
    out.max_tokens = side.last + 1;
    return true;
  }
  return false;
}

// Constant runs, forbidden or negligible tiles, and direct tiles for the rest.
void CutIntoRuns(const std::vector<TileRange>& tiles, const StructureOptions& options, double floor,
                 double reference, SideStructure& out) {
  const int64_t edge = static_cast<int64_t>(tiles.size()) - 1;
  // Half the spread of a run is the relative error of its middle.
  const double spread = options.relative_error;
  int64_t offset = 1;
  while (offset <= edge) {
    const TileRange& tile = tiles[offset];
    if (tile.high < floor) {
      if (tile.high > -kInfinity) out.drops_small = true;
      ++offset;
      continue;
    }
    if (tile.mixed || tile.high - tile.low > spread) {
      out.direct.push_back(offset++);
      continue;
    }
    double low = tile.low, high = tile.high;
    int64_t end = offset + 1;
    while (end <= edge && !tiles[end].mixed && tiles[end].high > -kInfinity &&
           std::max(high, tiles[end].high) - std::min(low, tiles[end].low) <= spread) {
      low = std::min(low, tiles[end].low);
      high = std::max(high, tiles[end].high);
      ++end;
    }
    const double middle = 0.5 * (low + high);
    out.terms.push_back({offset, end > edge ? kOpen : end, 0.0, middle - reference});
    out.relative_error = std::max(out.relative_error, std::expm1(high - middle));
    offset = end;
  }
}

SideStructure AnalyzeSide(const Side& side, const StructureOptions& options, double center,
                          double reference) {
  const double floor = center - options.threshold;
  const std::vector<TileRange> tiles = ScanTiles(side);
  const int64_t last_offset = LastMatteringOffset(tiles, floor);
  SideStructure runs;
  CutIntoRuns(tiles, options, floor, reference, runs);
  // Few direct tiles: nothing to gain from another far field.
  if (runs.direct.size() <= 2) return runs;
  const auto drops = [&](SideStructure tail) {
    for (size_t offset = 1; offset < tiles.size(); ++offset)
      if (tiles[offset].mixed || !(tiles[offset].low >= floor) || tiles[offset].high < floor)
        tail.drops_small = true;
    return tail;
  };
  SideStructure tail;
  if (FindExponentialTail(side, options, floor, reference, last_offset, tail)) {
    tail = drops(tail);
    if (tail.direct.size() + 2 < runs.direct.size()) return tail;
    return runs;
  }
  if (options.max_exponentials > 0 &&
      FindSmoothTail(side, options, floor, reference, last_offset, tail)) {
    tail = drops(tail);
    // An exponential costs about half a direct tile: its state and its product.
    if (2 * tail.direct.size() + tail.terms.size() < 2 * runs.direct.size()) return tail;
  }
  return runs;
}

// Puts the pieces of one side into the table's, the left one mirrored.
void Merge(const SideStructure& side, bool left, TableStructure& table) {
  for (const int64_t offset : side.direct) table.direct.push_back(left ? -offset : offset);
  for (FarTerm term : side.terms) {
    if (left) {
      const int64_t begin = term.begin;
      term.begin = term.end == kOpen ? -kOpen : -term.end + 1;
      term.end = -begin + 1;
    }
    table.terms.push_back(term);
  }
  table.relative_error = std::max(table.relative_error, side.relative_error);
  table.drops_small |= side.drops_small;
  table.max_tokens = std::min(table.max_tokens, side.max_tokens);
}

double LargestFinite(const float* bias, int64_t length) {
  double largest = -kInfinity;
  for (int64_t i = 0; i < 2 * length - 1; ++i)
    largest = std::max(largest, static_cast<double>(bias[i]));
  return largest;
}

}  // namespace

TableStructure AnalyzeTable(const float* bias, int64_t length, const StructureOptions& options) {
  TableStructure table;
  table.reference = LargestFinite(bias, length);
  table.center = bias[length - 1];
  table.threshold = options.threshold;
  table.direct.push_back(0);
  for (const bool left : {true, false}) {
    const Side side{[=](int64_t t) {
                      const int64_t clamped = std::min(t, length - 1);
                      return static_cast<double>(bias[length - 1 + (left ? -clamped : clamped)]);
                    },
                    length - 1};
    Merge(AnalyzeSide(side, options, table.center, table.reference), left, table);
  }
  std::sort(table.direct.begin(), table.direct.end());
  return table;
}

double TableStructure::ErrorBound(int64_t n, double spread) const {
  double bound = 2.0 * relative_error / (1.0 - relative_error);
  if (drops_small) {
    bound += static_cast<double>(n) * std::exp(spread - threshold + 1);
  }
  return bound;
}

int64_t TableStructure::DirectTiles(int64_t n) const {
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  int64_t tiles = 0;
  for (const int64_t offset : direct) tiles += std::max<int64_t>(0, chunks - std::abs(offset));
  return chunks == 0 ? 0 : (tiles + chunks - 1) / chunks;
}

int64_t TableStructure::StateGroups() const {
  int64_t exponentials = 0;
  bool constants = false;
  for (const FarTerm& term : terms) {
    if (term.rate == 0.0) {
      constants = true;
    } else {
      ++exponentials;
    }
  }
  return exponentials + (constants ? 1 : 0);
}

}  // namespace longwave::attention
