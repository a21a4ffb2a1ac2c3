#include "model/attention/cuda/structured/coarse_fields.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "model/attention/cuda/structured/device_plan.h"
#include "model/attention/structured/prepared_head.h"

namespace longwave::attention::cuda {
namespace {

// The basis of least rank that keeps the terms within kCoarseError; of rank 0: none does.
ChunkBasis FindBasis(const std::vector<FarTerm>& terms, int64_t length, double fit_error,
                     double& both) {
  const ChunkBasis best = FindChunkBasis(terms, kMaxRank, kBlock);
  std::vector<FarTerm> sides[2];
  for (const FarTerm& term : terms) sides[term.left()].push_back(term);
  for (int rank = 2; rank <= kMaxRank; ++rank) {
    ChunkBasis basis = best.Leading(rank);
    double error = 0;
    for (const std::vector<FarTerm>& side : sides) {
      if (side.empty()) continue;
      error = std::max(error, ProjectionError(basis, side, (length - 1) / kBlock + 1));
    }
    both = (1 + error) * (1 + fit_error) - 1;
    if (both <= kCoarseError) return basis;
  }
  return {};
}

std::optional<CoarseField> FieldOf(const std::vector<float>& bias) {
  const auto length = static_cast<int64_t>(bias.size() + 1) / 2;
  StructureOptions options;
  options.smooth_error = kCoarseError / 1.5;  // the rest is for the basis
  options.max_exponentials = kMaxRates;
  CoarseField field{AnalyzeTable(bias.data(), length, options), {}};
  const std::vector<FarTerm> terms = SmoothBlockTerms(field.structure);
  if (terms.empty()) return std::nullopt;
  double error = 0;
  field.basis = FindBasis(terms, length, field.structure.relative_error, error);
  if (field.basis.rank == 0) return std::nullopt;
  field.structure.relative_error = error;
  return field;
}

}  // namespace

CoarseFields::CoarseFields(const PositionBias& bias) {
  const at::Tensor table = bias.Table().values;
  const int64_t width = table.size(2), length = (width + 1) / 2;
  heads_.resize(table.size(0));
  at::parallel_for(0, table.size(0), 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) {
      if (bias.Structure(head, /*smooth=*/true) == nullptr) continue;
      const float* const values = table.const_data_ptr<float>() + head * width;
      std::vector<float> row(values, values + width);
      if (bias.causal()) {
        std::fill(row.begin() + length, row.end(), -std::numeric_limits<float>::infinity());
      }
      heads_[head] = FieldOf(row);
    }
  });
}

}  // namespace longwave::attention::cuda
