#include "model/attention/structured/table_structure.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "model/attention/structured/chunk_kernels.h"
#include "model/attention/structured/exponential_fit.h"

namespace longwave::attention {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// What may be left of a term beyond its range, as a share of the weights there.
constexpr double kNothing = 1e-9;

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

// Where a side's decay ends: at the table's edge, at a constant, or where nothing matters any more.
struct DecayRange {
  int64_t end = 0;   // first offset of its last tiles, which may hold the kink; kOpen: at the edge
  int64_t last = 0;  // last distance before those tiles
  double least = 0.0;  // the smallest weight from there on that must keep its value
};

// Tiles overlap: a kink lies in two of them.
constexpr int64_t kKinkTiles = 2;

DecayRange FindDecayRange(const Side& side, const std::vector<TileRange>& tiles,
                          const SideStructure& runs, double floor, double reference) {
  int64_t after = 0;
  double least = 0.0;
  if (const int64_t last = LastMatteringOffset(tiles, floor); last >= 0) {
    after = last + 1;
    least = floor - reference;
  } else {
    after = runs.terms.back().begin;
    if (after + kKinkTiles >= EdgeOffset(side)) return {kOpen, side.last, 0.0};
    least = runs.terms.back().log_amplitude;
  }
  const int64_t end = std::max<int64_t>(after - kKinkTiles, 1);
  for (int64_t offset = end; offset < after; ++offset)
    if (tiles[offset].low >= floor) least = std::min(least, tiles[offset].low - reference);
  return {end, LastDistance(end - 1), std::exp(least)};
}

// Gives decaying terms from `begin` on their range, with direct tiles around it and what the runs
// say of the rest.
void PutDecay(std::vector<FarTerm> terms, int64_t begin, const DecayRange& range,
              const SideStructure& runs, SideStructure& out) {
  for (int64_t offset = 1; offset < begin; ++offset) out.direct.push_back(offset);
  for (FarTerm& term : terms) {
    term.begin = begin;
    term.end = range.end;
    if (range.end == kOpen) continue;
    const double left_over =
        std::exp(term.log_amplitude - term.rate * static_cast<double>(FirstDistance(range.end)));
    if (left_over > kNothing * range.least) continue;
    term.end = kOpen;
    out.relative_error += kNothing;
  }
  out.terms.insert(out.terms.end(), terms.begin(), terms.end());
  out.drops_small |= runs.drops_small;
  if (range.end == kOpen) {
    // Beyond the table the edge value holds, the decay does not.
    out.max_tokens = range.last + 1;
    return;
  }
  const int64_t after = range.end + kKinkTiles;
  for (int64_t offset = range.end; offset < after; ++offset) out.direct.push_back(offset);
  for (const int64_t offset : runs.direct)
    if (offset >= after) out.direct.push_back(offset);
  for (const FarTerm& term : runs.terms)
    if (term.begin >= after) out.terms.push_back(term);
}

// The far part as one exponential, if there is one; bounded: it may end before the table does.
bool FindExponentialTail(const Side& side, const StructureOptions& options, double floor,
                         double reference, bool bounded, const std::vector<TileRange>& tiles,
                         const SideStructure& runs, SideStructure& out) {
  const int64_t faded = LastMatteringOffset(tiles, floor);
  const DecayRange range = FindDecayRange(side, tiles, runs, floor, reference);
  for (int64_t begin = 1; begin <= 8; begin *= 2) {
    const int64_t first = FirstDistance(begin);
    const auto fit = [&](int64_t last) {
      if (first + 4 * kChunk >= last) return Line{};
      Line line = FitLine(side, first, last, floor);
      if (!(line.slope < 0.0)) line.deviation = kInfinity;
      return line;
    };
    const auto term = [&](const Line& line) {
      return FarTerm{begin, kOpen, -line.slope, line.intercept - reference};
    };
    // One that fades away needs no end.
    if (faded >= 0) {
      const Line line = fit(std::min(side.last, LastDistance(faded)));
      if (line.deviation <= options.relative_error) {
        for (int64_t offset = 1; offset < begin; ++offset) out.direct.push_back(offset);
        out.terms.push_back(term(line));
        out.relative_error = line.deviation;
        out.drops_small = true;
        return true;
      }
    }
    if (range.end != kOpen && !bounded) continue;
    if (const Line line = fit(range.last); line.deviation <= options.relative_error) {
      out.relative_error = line.deviation;
      PutDecay({term(line)}, begin, range, runs, out);
      return true;
    }
  }
  return false;
}

// The far part from `begin` on as a sum of exponentials.
bool FindSmoothTail(const Side& side, const StructureOptions& options, double floor,
                    double reference, int64_t begin, const std::vector<TileRange>& tiles,
                    const SideStructure& runs, SideStructure& out) {
  const DecayRange range = FindDecayRange(side, tiles, runs, floor, reference);
  const int64_t first = FirstDistance(begin);
  if (first + 16 * kChunk >= range.last) return false;
  const auto weight = [&](int64_t t) { return std::exp(side.bias(t) - reference); };
  const std::vector<Exponential> sum = FitExponentials(
      weight, first, range.last, options.max_exponentials, 0.5 * options.smooth_error);
  if (sum.empty()) return false;
  double worst = 0.0;
  for (int64_t t = first; t <= range.last; ++t) {
    const double b = side.bias(t);
    if (b < floor) return false;  // not smooth to the end: -inf or a cliff
    double fit = 0.0;
    for (const Exponential& term : sum)
      fit += term.weight * std::exp(-term.rate * static_cast<double>(t));
    worst = std::max(worst, std::abs(fit / std::exp(b - reference) - 1.0));
    if (worst > options.smooth_error) return false;
  }
  std::vector<FarTerm> terms;
  for (const Exponential& term : sum)
    terms.push_back({begin, kOpen, term.rate, std::log(term.weight), /*smooth=*/true});
  out.relative_error = worst;
  PutDecay(std::move(terms), begin, range, runs, out);
  return true;
}

// smooth_begin: where a sum of exponentials may begin; 0: nowhere.
SideStructure AnalyzeSide(const Side& side, const StructureOptions& options, double center,
                          double reference, int64_t smooth_begin) {
  const double floor = center - options.threshold;
  const std::vector<TileRange> tiles = ScanTiles(side);
  SideStructure runs;
  CutIntoRuns(tiles, options, floor, reference, runs);
  // Few direct tiles: nothing to gain from another far field.
  if (runs.direct.size() <= 2) return runs;
  SideStructure tail;
  if (FindExponentialTail(side, options, floor, reference, smooth_begin > 0, tiles, runs, tail))
    return tail.direct.size() + 2 < runs.direct.size() ? tail : runs;
  // A state of the basis costs as much as a direct tile.
  if (smooth_begin > 0 &&
      FindSmoothTail(side, options, floor, reference, smooth_begin, tiles, runs, tail) &&
      tail.direct.size() + options.max_rank < runs.direct.size())
    return tail;
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

// The basis of least rank that keeps the table's smooth terms within their error. False:
// none does.
bool FindBasis(const StructureOptions& options, int64_t length, TableStructure& table) {
  std::vector<FarTerm> smooth;
  for (const FarTerm& term : table.terms)
    if (term.smooth) smooth.push_back(term);
  if (smooth.empty()) return true;
  const int64_t edge = (length - 1) / kChunk + 1;
  const ChunkBasis best = FindChunkBasis(smooth, options.max_rank);
  for (int rank = 2; rank <= options.max_rank; ++rank) {
    ChunkBasis basis = best.Leading(rank);
    double error = 0.0;
    for (const bool left : {true, false}) {
      std::vector<FarTerm> side;
      for (const FarTerm& term : smooth)
        if (term.left() == left) side.push_back(term);
      if (!side.empty()) error = std::max(error, ProjectionError(basis, side, edge));
    }
    const double both = (1.0 + error) * (1.0 + table.relative_error) - 1.0;
    if (!(both <= options.smooth_error)) continue;
    table.relative_error = both;
    table.basis = std::move(basis);
    return true;
  }
  return false;
}

TableStructure AnalyzeWith(const float* bias, int64_t length, const StructureOptions& options,
                           int64_t smooth_begin) {
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
    Merge(AnalyzeSide(side, options, table.center, table.reference, smooth_begin), left, table);
  }
  std::sort(table.direct.begin(), table.direct.end());
  return table;
}

}  // namespace

TableStructure AnalyzeTable(const float* bias, int64_t length, const StructureOptions& options) {
  if (options.max_exponentials > 0) {
    // The nearer the far field begins, the fewer tiles, but the larger the basis.
    for (const int64_t begin : {2, 3, 5}) {
      TableStructure table = AnalyzeWith(bias, length, options, begin);
      if (FindBasis(options, length, table)) return table;
    }
  }
  return AnalyzeWith(bias, length, options, 0);
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

bool TableStructure::HasBoundedDecays() const {
  return std::any_of(terms.begin(), terms.end(), [](const FarTerm& term) {
    return term.rate != 0.0 && term.beyond() != kOpen;
  });
}

int64_t TableStructure::States(int64_t n) const {
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  int64_t alone = 0;
  bool constants = false, smooth = false;
  for (const FarTerm& term : terms) {
    if (term.nearest() >= chunks) continue;
    if (term.smooth) {
      smooth = true;
    } else if (term.rate == 0.0) {
      constants = true;
    } else {
      ++alone;
    }
  }
  return alone + (constants ? 1 : 0) + (smooth ? basis.rank : 0);
}

int64_t TableStructure::ScanWork(int64_t n) const {
  const int64_t chunks = (n + kChunk - 1) / kChunk;
  int64_t work = 0;
  for (const FarTerm& term : terms) {
    if (term.nearest() >= chunks) continue;
    // In and out of the states, the running sum in float64 between; a window takes two sweeps.
    const int64_t sweeps = term.beyond() < chunks ? 2 : 1;
    work += sweeps * (4 * (term.smooth ? basis.rank : 1) + 8);
  }
  return work;
}

}  // namespace longwave::attention
