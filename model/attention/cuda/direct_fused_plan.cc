#include "model/attention/cuda/direct_fused_plan.h"

#include <c10/cuda/CUDAGraphsC10Utils.h>

#include <algorithm>
#include <cstdint>

#include "model/attention/cuda/direct_workspace.h"

namespace longwave::attention::cuda {
namespace {

// What a block takes on an H100, microseconds: its set-up, and each tile of 64 keys.
struct Candidate {
  FusedLayout layout;
  double block;
  double tile;
};
constexpr Candidate kCandidates[] = {
    {{4, 1, 2}, 5.3, 2.8},  {{4, 1, 1}, 5.3, 1.5},  {{3, 1, 1}, 4.2, 1.42},
    {{2, 2, 1}, 3.8, 1.27}, {{1, 4, 1}, 7.4, 0.73},
};

// The same of a call by tiles in device memory: its four launches, every row of a tile of a head,
// every product of two of them.
constexpr double kTilesCall = 14;
constexpr double kTilesToken = 0.5e-3;
constexpr double kTilesProduct = 256.0 / 600e6;

// Beyond this nothing was measured to be faster than tiles in device memory.
constexpr int64_t kLongest = 1024;
// These times are good to about 20%.
constexpr double kMargin = 0.9;

// Calls fn(length) for the sequences of the launch.
template <typename Fn>
void ForEachLength(const Problem& problem, const SequenceView& sequences, const Fn& fn) {
  for (const Sequence& sequence : problem.sequences) {
    if (sequence.length >= sequences.min_length && sequence.length <= sequences.max_length) {
      fn(sequence.length);
    }
  }
}

}  // namespace

std::optional<FusedPlan> PlanFused(const Problem& problem, const AttentionArgs& args,
                                   int multiprocessors) {
  if (!FusedServes(args) || ShiftsFeatures(problem)) return std::nullopt;
  const SequenceView& sequences = args.sequences;
  const double heads = args.head_end - args.head_begin;
  int64_t longest = 0;
  double tokens = 0, products = 0;
  ForEachLength(problem, sequences, [&](int64_t length) {
    const auto n = static_cast<double>((length + kTileRows - 1) / kTileRows * kTileRows);
    longest = std::max(longest, length);
    tokens += n;
    products += n * n * (args.bias.causal ? 0.55 : 1);
  });

  std::optional<FusedPlan> best;
  if (longest > kLongest) return std::nullopt;
  double best_time =
      kMargin * (kTilesCall + heads * (kTilesToken * tokens + kTilesProduct * products));
  for (const auto& [layout, block, tile] : kCandidates) {
    if (longest > FusedMaxLength(layout)) continue;
    const int64_t rows = layout.rows();
    int64_t blocks = 0;
    double time = 0;  // of all blocks, one after the other
    ForEachLength(problem, sequences, [&, block = block, tile = tile](int64_t length) {
      const int64_t count = (length + rows - 1) / rows;
      const auto tiles = static_cast<double>((length + 63) / 64) * (args.bias.causal ? 0.55 : 1);
      blocks += count;
      time += static_cast<double>(count) * (block + tile * tiles);
    });
    if (blocks == 0) continue;
    const auto all = static_cast<double>(blocks) * heads;
    const auto waves =
        static_cast<double>((static_cast<int64_t>(all) + multiprocessors - 1) / multiprocessors);
    time *= heads / all * waves;
    if (time >= best_time) continue;
    best_time = time;
    best = {layout, static_cast<int>(longest), static_cast<int>(blocks)};
  }
  // A graph may be replayed with other lengths.
  if (best.has_value() &&
      c10::cuda::currentStreamCaptureStatusMayInitCtx() != c10::cuda::CaptureStatus::None) {
    best->blocks = static_cast<int>(sequences.tokens / best->layout.rows()) + sequences.count;
  }
  return best;
}

}  // namespace longwave::attention::cuda
