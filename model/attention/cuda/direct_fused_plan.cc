#include "model/attention/cuda/direct_fused_plan.h"

#include <c10/cuda/CUDAGraphsC10Utils.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <vector>

#include "model/attention/cost_table.h"
#include "model/attention/cuda/direct_costs.h"
#include "model/attention/cuda/direct_workspace.h"

namespace longwave::attention::cuda {
namespace {

// The sequences of the launch, in all its heads.
std::vector<EqualSequences> SequencesOf(const Problem& problem, const AttentionArgs& args) {
  std::map<int64_t, int64_t> counts;
  for (const Sequence& sequence : problem.sequences) {
    const int64_t n = sequence.length;
    if (n == 0 || n < args.sequences.min_length || n > args.sequences.max_length) continue;
    counts[n] += args.head_end - args.head_begin;
  }
  std::vector<EqualSequences> sequences;
  for (const auto& [length, count] : counts) sequences.push_back({length, count});
  return sequences;
}

}  // namespace

std::optional<FusedPlan> PlanFused(const Problem& problem, const AttentionArgs& args,
                                   int multiprocessors) {
  if (!FusedServes(args) || ShiftsFeatures(problem)) return std::nullopt;
  const std::vector<EqualSequences> sequences = SequencesOf(problem, args);
  const bool causal = args.bias.causal;
  const CostConstants& costs = kCostTable;
  const std::optional<FusedChoice> choice =
      ChooseFusedLayout(sequences, causal, multiprocessors, costs);
  if (!choice.has_value()) return std::nullopt;
  DirectWidths widths;
  widths.causal = causal;
  const double tiles_ms = 1e-3 * costs.cuda_direct_us_per_call +
                          TilesMilliseconds(sequences, widths, /*hopper=*/true, costs);
  if (choice->milliseconds >= tiles_ms) return std::nullopt;

  const FusedLayout& layout = choice->layout;
  const int64_t heads = args.head_end - args.head_begin;
  int64_t items = 0;  // of a head
  if (layout.key_groups > 1 ||
      c10::cuda::currentStreamCaptureStatusMayInitCtx() != c10::cuda::CaptureStatus::None) {
    // Whatever the lengths: a graph may be replayed with others, and a team whose warpgroups split
    // the keys takes one item only, so that there must be one for each that the device finds.
    items = args.sequences.tokens / layout.rows() + args.sequences.count;
  } else {
    for (const auto& [length, count] : sequences) items += layout.items(length) * (count / heads);
  }
  int64_t lanes = (items + layout.teams - 1) / layout.teams;
  if (layout.key_groups == 1) {
    lanes = std::clamp<int64_t>(multiprocessors / heads, 1, std::max<int64_t>(lanes, 1));
  }
  return FusedPlan{layout, static_cast<int>(sequences.back().length), static_cast<int>(lanes)};
}

}  // namespace longwave::attention::cuda
