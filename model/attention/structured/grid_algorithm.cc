#include "model/attention/structured/grid_algorithm.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <optional>
#include <string>

#include "model/attention/structured/block_attention.h"
#include "model/attention/structured/prepared_grid.h"
#include "model/attention/structured/separable_attention.h"
#include "model/attention/structured/solve_heads.h"

namespace longwave::attention {
namespace {

// One of the ways to compute a head by its structure.
struct Way {
  const GridStructure* blocks = nullptr;
  const SeparableStructure* axes = nullptr;  // where blocks is null
  Estimate estimate;
};

double Milliseconds(const Shape& shape, double tile_flop, double line_flop, std::size_t floats) {
  const CostConstants& costs = *shape.costs;
  const double features =
      static_cast<double>(shape.length) * static_cast<double>(PaddedShape(shape).features_pad);
  const double ms =
      1e-9 * (costs.chunk_ps_per_flop * tile_flop + costs.line_ps_per_flop * line_flop) +
      costs.chunk_ns_per_feature * 1e-6 * features +
      costs.chunk_ps_per_byte * 1e-9 * static_cast<double>(floats * sizeof(float));
  return ms / shape.threads;
}

Way WayOf(const Shape& shape, const GridStructure& blocks) {
  const ChunkShape padded = PaddedShape(shape);
  const BlockWork work = WorkOf(padded, blocks);
  const std::size_t floats = work.workspace + ScratchFloats(padded, blocks, shape.threads);
  return {&blocks,
          nullptr,
          {Milliseconds(shape, work.tile_flop, work.line_flop, work.states),
           blocks.ErrorBound(shape.range.spread) + RoundingByHead(shape),
           static_cast<int64_t>(floats * sizeof(float))}};
}

Way WayOf(const Shape& shape, const SeparableStructure& axes) {
  const ChunkShape padded = PaddedShape(shape);
  const std::size_t floats = SeparableFloats(padded, axes);
  return {nullptr,
          &axes,
          {Milliseconds(shape, SeparableFlop(padded, axes), 0, floats),
           axes.ErrorBound(shape.range.spread) + RoundingByHead(shape),
           static_cast<int64_t>(floats * sizeof(float))}};
}

// Whether to take a rather than b: the fastest within the tolerance and the limit of the workspace;
// if none is, the one that errs least, or of those within the tolerance takes the least memory.
bool Better(const Shape& shape, const Estimate& a, const Estimate& b) {
  const auto good = [&](const Estimate& e) { return e.error_bound <= shape.tolerance; };
  if (good(a) != good(b)) return good(a);
  if (!good(a)) return a.error_bound < b.error_bound;
  const auto fits = [&](const Estimate& e) {
    return shape.workspace_limit == 0 || e.workspace_bytes <= shape.workspace_limit;
  };
  if (fits(a) != fits(b)) return fits(a);
  if (!fits(a)) return a.workspace_bytes < b.workspace_bytes;
  return a.milliseconds < b.milliseconds;
}

std::optional<Way> Choose(const Shape& shape) {
  const PreparedGrid* const grid = shape.bias->Grid(shape.head);
  if (grid == nullptr) return std::nullopt;
  std::optional<Way> best;
  const auto consider = [&](const Way& way) {
    if (!best.has_value() || Better(shape, way.estimate, best->estimate)) best = way;
  };
  if (grid->blocks.has_value()) consider(WayOf(shape, *grid->blocks));
  if (grid->axes.has_value()) consider(WayOf(shape, *grid->axes));
  return best;
}

class GridAlgorithm final : public Algorithm {
 public:
  std::string_view name() const override { return "structured"; }

  bool Serves(FeatureMap map) const override { return map == FeatureMap::kPrf; }

  std::optional<std::string> WhyNot(const Shape& shape) const override {
    if (const std::optional<std::string> why = WhyNotByHead(shape)) return why;
    const std::optional<Way> way = Choose(shape);
    if (!way.has_value()) return "finds no structure";
    const double bound = way->estimate.error_bound;
    if (!(bound <= shape.tolerance)) return "has an error bound of " + std::to_string(bound);
    return std::nullopt;
  }

  Estimate Predict(const Shape& shape) const override { return Choose(shape)->estimate; }

  void Run(const Part& part, OnDoubt on_doubt) const override {
    const Problem& problem = *part.problem;
    Shape base;
    base.dim = problem.q.size(2);
    base.feature_dim = problem.feature_dim();
    base.value_dim = problem.v.size(2);
    base.threads = at::get_num_threads();
    base.bias = problem.bias;
    base.range =
        FeatureRange::Of(problem.projection, problem.features.normalize, problem.features.scale);
    base.tolerance = problem.tolerance;
    base.workspace_limit = problem.workspace_bytes;
    SolveHeads(part, on_doubt, name(), [&](const HeadProblem& of_head, int64_t head) {
      Shape shape = base;
      shape.length = of_head.input.tokens;
      shape.head = head;
      const Way way = *Choose(shape);
      return way.blocks != nullptr ? BlockAttention(of_head, *way.blocks)
                                   : SeparableAttention(of_head, *way.axes);
    });
  }
};

}  // namespace

const Algorithm& GridStructured() {
  static const GridAlgorithm algorithm;
  return algorithm;
}

}  // namespace longwave::attention
