#include "model/attention/cuda/direct_workspace.h"

#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>

#include "model/attention/cuda/exact_rows.h"
#include "model/attention/feature_range.h"

namespace longwave::attention::cuda {
namespace {

int32_t PartsOf(at::ScalarType dtype) {
  switch (dtype) {
    case at::kBFloat16:
      return 1;
    case at::kHalf:
      return 2;
    default:
      return 3;
  }
}

// Of one head. A block of queries may read rows past the last tile, whose results nobody sees.
int64_t PaddedRows(const Problem& problem) {
  return (problem.q.size(0) / kTileRows + static_cast<int64_t>(problem.sequences.size()) + 2) *
         kTileRows;
}

}  // namespace

int64_t OperandBytes(const Problem& problem) {
  return PaddedRows(problem) * kPanelRowBytes * PartsOf(problem.q.scalar_type()) *
         (2 * Panels(problem.feature_dim()) + Panels(problem.v.size(2)));
}

bool ShiftsFeatures(const Problem& problem) {
  const auto& [map, normalize, scale] = problem.features;
  // What is typical has to do, as the projection is on the device.
  return FeatureRange::Typical(problem.q.size(2), normalize, scale).exponent >
         kMaxUnshiftedExponent;
}

DirectWorkspace::DirectWorkspace(const Problem& problem, DirectArgs& args) {
  const AttentionArgs& attention = args.attention;
  DirectOperands& operands = args.operands;
  operands.heads = attention.head_end - attention.head_begin;
  operands.rows = PaddedRows(problem);
  operands.parts = PartsOf(problem.q.scalar_type());
  operands.q.panels = operands.k.panels = Panels(problem.feature_dim());
  operands.v.panels = Panels(attention.value_dim);
  const at::TensorOptions bytes = problem.q.options().dtype(at::kByte);
  const int64_t panel = operands.rows * kPanelRowBytes * operands.heads * operands.parts;
  tiles_ = at::empty({OperandBytes(problem) * operands.heads}, bytes);
  operands.q.data = static_cast<char*>(tiles_.mutable_data_ptr());
  operands.k.data = operands.q.data + panel * operands.q.panels;
  operands.v.data = operands.k.data + panel * operands.k.panels;
  if (ShiftsFeatures(problem)) {
    key_maxima_ =
        at::empty({operands.heads, attention.sequences.count, kMaxColumns}, bytes.dtype(at::kInt));
    operands.key_maxima = key_maxima_.mutable_data_ptr<int32_t>();
  }
  args.tensor_heads = static_cast<int32_t>(problem.heads());
  doubtful_count_ = at::zeros({1}, bytes.dtype(at::kInt));
  doubtful_rows_ = at::empty({attention.sequences.tokens * operands.heads}, bytes.dtype(at::kLong));
  args.doubtful_count = doubtful_count_.mutable_data_ptr<int32_t>();
  args.doubtful_rows = doubtful_rows_.mutable_data_ptr<int64_t>();
}

void DirectWorkspace::ReleaseOperands() { tiles_.reset(); }

void DirectWorkspace::Repair(const DirectArgs& args, cudaStream_t stream) const {
  const RowList list{args.doubtful_count, args.doubtful_rows};
  C10_CUDA_CHECK(LaunchExactRows(args.attention, args.tensor_heads, &list, stream));
}

}  // namespace longwave::attention::cuda
