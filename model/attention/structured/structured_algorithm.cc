// The algorithms "structured" and "low_rank" for tokens in a row, and which one grids take.
#include <cmath>
#include <optional>
#include <string>

#include "model/attention/algorithm.h"
#include "model/attention/structured/grid_algorithm.h"
#include "model/attention/structured/solve_heads.h"
#include "model/attention/structured/table_structures.h"

namespace longwave::attention {
namespace {

class ChunkedAlgorithm final : public Algorithm {
 public:
  explicit ChunkedAlgorithm(bool smooth) : smooth_(smooth) {}

  std::string_view name() const override { return smooth_ ? "low_rank" : "structured"; }

  bool Serves(FeatureMap map) const override { return map == FeatureMap::kPrf; }

  std::optional<std::string> WhyNot(const Shape& shape) const override {
    if (const std::optional<std::string> why = WhyNotByHead(shape)) return why;
    const PreparedHead* const head = Find(shape);
    if (head == nullptr)
      return smooth_ ? "finds no smooth far field" : "needs a table of distances";
    const TableStructure& structure = head->structure();
    const int64_t chunks = (shape.length + kChunk - 1) / kChunk;
    if (structure.DirectTiles(shape.length) >= chunks && chunks > 1) return "finds no structure";
    if (shape.length > structure.max_tokens)
      return "holds for up to " + std::to_string(structure.max_tokens) + " tokens";
    const double bound =
        structure.ErrorBound(shape.length, shape.range.spread) + RoundingByHead(shape);
    if (!(bound <= shape.tolerance)) return "has an error bound of " + std::to_string(bound);
    return std::nullopt;
  }

  Estimate Predict(const Shape& shape) const override {
    const PreparedHead* const head = Find(shape);
    const TableStructure& structure = head->structure();
    const ChunkShape padded = PaddedShape(shape);
    const double m = padded.features_pad, e = padded.value_pad, d = padded.dim_pad;
    const double states = static_cast<double>(structure.States(shape.length));
    const double per_token =
        2 * kChunk * static_cast<double>(structure.DirectTiles(shape.length)) * (m + e) +
        states * 4 * m * e + 4 * d * m +
        static_cast<double>(structure.ScanWork(shape.length)) * m * e / kChunk;
    const double chunks = std::ceil(static_cast<double>(shape.length) / kChunk);
    const double bytes =
        static_cast<double>(WorkspaceFloats(padded, structure, shape.length) * sizeof(float));
    const CostConstants& costs = *shape.costs;
    const double ms =
        (costs.chunk_ps_per_flop * 1e-9 * per_token + costs.chunk_ns_per_feature * 1e-6 * m) *
            chunks * kChunk +
        costs.chunk_ps_per_byte * 1e-9 * bytes;
    return {ms / shape.threads,
            structure.ErrorBound(shape.length, shape.range.spread) + RoundingByHead(shape),
            static_cast<int64_t>(bytes)};
  }

  void Run(const Part& part, OnDoubt on_doubt) const override {
    SolveHeads(part, on_doubt, name(), [&](const HeadProblem& problem, int64_t head) {
      return ChunkedAttention(problem, *part.problem->bias->Structure(head, smooth_));
    });
  }

 private:
  const PreparedHead* Find(const Shape& shape) const {
    return shape.bias->Structure(shape.head, smooth_);
  }

  const bool smooth_;
};

// "structured" by chunks of a row or by blocks of a grid.
class StructuredAlgorithm final : public Algorithm {
 public:
  std::string_view name() const override { return "structured"; }
  bool Serves(FeatureMap map) const override { return rows_.Serves(map); }
  std::optional<std::string> WhyNot(const Shape& shape) const override {
    return For(*shape.bias).WhyNot(shape);
  }
  Estimate Predict(const Shape& shape) const override { return For(*shape.bias).Predict(shape); }
  void Run(const Part& part, OnDoubt on_doubt) const override {
    For(*part.problem->bias).Run(part, on_doubt);
  }

 private:
  const Algorithm& For(const PositionBias& bias) const {
    return bias.Table().grid_width > 0 ? GridStructured() : rows_;
  }

  const ChunkedAlgorithm rows_{/*smooth=*/false};
};

}  // namespace

const Algorithm& Structured() {
  static const StructuredAlgorithm algorithm;
  return algorithm;
}

const Algorithm& LowRank() {
  static const ChunkedAlgorithm algorithm(/*smooth=*/true);
  return algorithm;
}

}  // namespace longwave::attention
