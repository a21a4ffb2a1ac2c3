#include "model/attention/structured/block_algorithm.h"

#include <optional>
#include <string>

#include "model/attention/structured/block_attention.h"
#include "model/attention/structured/solve_heads.h"

namespace longwave::attention {
namespace {

class BlockAlgorithm final : public Algorithm {
 public:
  std::string_view name() const override { return "structured"; }

  bool Serves(FeatureMap map) const override { return map == FeatureMap::kPrf; }

  std::optional<std::string> WhyNot(const Shape& shape) const override {
    if (const std::optional<std::string> why = WhyNotByHead(shape)) return why;
    const GridStructure* const structure = shape.bias->Grid(shape.head);
    if (structure == nullptr) return "finds no structure";
    const double bound = structure->ErrorBound(shape.range.spread) + RoundingByHead(shape);
    if (!(bound <= shape.tolerance)) return "has an error bound of " + std::to_string(bound);
    return std::nullopt;
  }

  Estimate Predict(const Shape& shape) const override {
    const GridStructure& structure = *shape.bias->Grid(shape.head);
    const ChunkShape padded = PaddedShape(shape);
    const BlockWork work = WorkOf(padded, structure);
    const CostConstants& costs = *shape.costs;
    const double bytes = static_cast<double>(work.workspace * sizeof(float));
    const double features =
        static_cast<double>(structure.block_count() * kChunk) * padded.features_pad;
    const double ms =
        1e-9 *
            (costs.chunk_ps_per_flop * work.tile_flop + costs.line_ps_per_flop * work.line_flop) +
        costs.chunk_ns_per_feature * 1e-6 * features + costs.chunk_ps_per_byte * 1e-9 * bytes;
    return {ms / shape.threads, structure.ErrorBound(shape.range.spread) + RoundingByHead(shape),
            static_cast<int64_t>(bytes)};
  }

  void Run(const Part& part, OnDoubt on_doubt) const override {
    SolveHeads(
        part, on_doubt, name(),
        [&](const ChunkShape& shape, float scale, const PaddedProjection& projection, int64_t head,
            const HeadInput& input, Threading threading, Workspace& workspace) {
          return BlockAttention(shape, scale, projection, *part.problem->bias->Grid(head), input,
                                threading, workspace);
        });
  }
};

}  // namespace

const Algorithm& BlockStructured() {
  static const BlockAlgorithm algorithm;
  return algorithm;
}

}  // namespace longwave::attention
