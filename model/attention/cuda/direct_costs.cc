#include "model/attention/cuda/direct_costs.h"

#include <algorithm>

#include "model/attention/cuda/direct_tiles.h"

namespace longwave::attention::cuda {
namespace {

// The products that a causal call makes, of all.
constexpr double kCausalShare = 0.55;

// What a team takes in tiles of 64 keys of the first layout, as measured on an H100: to begin, each
// item's first pass over its keys, and each tile of that.
struct Candidate {
  FusedLayout layout;
  double start;
  double pass;
  double tile;
};
constexpr Candidate kCandidates[] = {
    {{1, 4, 1, 2}, 1.3, 3.7, 1},   {{1, 4, 1, 1}, 1.3, 3.7, 1},   {{2, 2, 1, 2}, 1.5, 3.7, 1.3},
    {{2, 2, 1, 1}, 1.5, 3.7, 1.3}, {{4, 1, 1, 2}, 1.3, 5.2, 1.6}, {{4, 1, 1, 1}, 1.3, 5.2, 1.6},
    {{1, 2, 2, 1}, 4.6, 0, 0.62},  {{1, 1, 4, 1}, 4.4, 0, 0.45},
};
// A second pass finds phi(k) and takes so much of the first.
constexpr double kSecondPass = 0.65;
constexpr int64_t kKeys = 64;

// Beyond this nothing was measured to be faster than tiles in device memory.
constexpr int64_t kLongest = 1024;

int64_t Quotient(int64_t x, int64_t unit) { return (x + unit - 1) / unit; }

}  // namespace

double TilesMilliseconds(std::span<const EqualSequences> sequences, const DirectWidths& widths,
                         bool hopper, const CostConstants& costs) {
  double tokens = 0, pairs = 0;
  for (const auto& [length, count] : sequences) {
    const auto n = static_cast<double>(Quotient(length, kTileRows) * kTileRows);
    tokens += n * static_cast<double>(count);
    pairs += n * n * static_cast<double>(count);
  }
  if (widths.causal) pairs *= kCausalShare;
  const double columns = static_cast<double>(widths.features + widths.values);
  const double flop = 2 * pairs * columns * static_cast<double>(widths.products);
  // Constants are those of 64 features and values.
  const double panels = static_cast<double>((2 * widths.features + widths.values) * widths.parts) /
                        (3.0 * kPanelColumns);
  return 1e-6 * tokens * panels * costs.cuda_direct_ns_per_token +
         1e-9 * flop * (hopper ? costs.cuda_direct_ps_per_flop : costs.cuda_direct_mma_ps_per_flop);
}

std::optional<FusedChoice> ChooseFusedLayout(std::span<const EqualSequences> sequences, bool causal,
                                             int multiprocessors, const CostConstants& costs) {
  for (const EqualSequences& some : sequences) {
    if (some.length > kLongest) return std::nullopt;
  }
  std::optional<FusedChoice> best;
  for (const auto& [layout, start, pass, tile] : kCandidates) {
    const int64_t rows = layout.rows();
    int64_t items = 0, longest = 0;
    double tiles = 0;  // of all items, one after the other
    for (const auto& [length, count] : sequences) {
      const int64_t of_length = count * layout.items(length);
      const auto passes =
          static_cast<double>(of_length) +
          kSecondPass * static_cast<double>(count * Quotient(length, rows) - of_length);
      auto keys = static_cast<double>(Quotient(length, kKeys));
      if (causal && layout.whole() < length) {  // rows of a sequence, not all of which it sees
        keys *= 0.5 + 0.5 * static_cast<double>(rows) / static_cast<double>(length);
      }
      items += of_length;
      tiles += passes * (pass + tile * keys);
      longest = std::max(longest, length);
    }
    if (items == 0 || longest > FusedMaxLength(layout)) continue;
    const double tile_ms = 1e-3 * costs.cuda_fused_us_per_tile;
    const double item_ms = tile_ms * tiles / static_cast<double>(items);
    const auto turns =
        static_cast<double>(Quotient(items, int64_t{layout.teams} * multiprocessors));
    // Teams that split the keys begin anew with every item.
    const double ms = tile_ms * start * (layout.key_groups > 1 ? turns : 1) + item_ms * turns;
    if (!best.has_value() || ms < best->milliseconds) {
      best = {layout, ms, tile_ms * start + item_ms};
    }
  }
  return best;
}

}  // namespace longwave::attention::cuda
