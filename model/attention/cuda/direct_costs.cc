#include "model/attention/cuda/direct_costs.h"

#include <algorithm>

#include "model/attention/cuda/direct_tiles.h"

namespace longwave::attention::cuda {
namespace {

// The products that a causal call makes, of all.
constexpr double kCausalShare = 0.55;

// What a thread block takes in tiles of 64 keys of the second layout, as measured on an H100: its
// beginning and end, and each tile.
struct Candidate {
  FusedLayout layout;
  double block;
  double tile;
};
constexpr Candidate kCandidates[] = {
    {{4, 1, 2}, 4.56, 2.04}, {{4, 1, 1}, 4.49, 1},   {{3, 1, 1}, 4.07, 0.85},
    {{2, 2, 1}, 4.59, 0.78}, {{1, 4, 1}, 5.24, 0.5},
};
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
  for (const auto& [layout, block, tile] : kCandidates) {
    const int64_t rows = layout.rows();
    int64_t blocks = 0, longest = 0;
    double tiles = 0;  // of all blocks, one after the other
    for (const auto& [length, count] : sequences) {
      const int64_t of_length = count * Quotient(length, rows);
      auto keys = static_cast<double>(Quotient(length, kKeys));
      if (causal && rows < length) {  // a block of rows, not all of which it sees
        keys *= 0.5 + 0.5 * static_cast<double>(rows) / static_cast<double>(length);
      }
      blocks += of_length;
      tiles += static_cast<double>(of_length) * (block + tile * keys);
      longest = std::max(longest, length);
    }
    if (blocks == 0 || longest > FusedMaxLength(layout)) continue;
    const double block_ms =
        1e-3 * costs.cuda_fused_us_per_tile * tiles / static_cast<double>(blocks);
    const double ms = block_ms * static_cast<double>(Quotient(blocks, multiprocessors));
    if (!best.has_value() || ms < best->milliseconds) best = {layout, ms, block_ms};
  }
  return best;
}

}  // namespace longwave::attention::cuda
