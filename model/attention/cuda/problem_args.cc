#include "model/attention/cuda/problem_args.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "model/attention/device_cache.h"

namespace longwave::attention::cuda {
namespace {

constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();

struct UploadedTable {
  at::Tensor values;
};

BiasView ViewOf(const PositionBias& bias, const at::Device& device) {
  const BiasTable table = bias.Table();
  const auto uploaded = bias.device_cache().Get<UploadedTable>(device.index(), [&] {
    return std::make_shared<UploadedTable>(UploadedTable{table.values.to(device)});
  });
  return {uploaded->values.const_data_ptr<float>(), static_cast<int32_t>(table.values.size(1)),
          static_cast<int32_t>(table.values.size(2)), static_cast<int32_t>(table.grid_width),
          bias.causal()};
}

DType DTypeOf(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return DType::kFloat;
    case at::kBFloat16:
      return DType::kBFloat16;
    case at::kHalf:
      return DType::kHalf;
    default:
      return DType::kDouble;
  }
}

TokenView ViewOf(const at::Tensor& x) {
  return {const_cast<void*>(x.const_data_ptr()), x.stride(0), x.stride(1)};
}

}  // namespace

AttentionArgs MakeArgs(const Part& part) {
  const Problem& problem = *part.problem;
  TORCH_CHECK_VALUE(problem.q.size(0) <= kMaxTokens, "q: found ", problem.q.size(0),
                    " tokens, expected at most ", kMaxTokens);
  AttentionArgs args;
  args.q = ViewOf(problem.q);
  args.k = ViewOf(problem.k);
  args.v = ViewOf(problem.v);
  args.out = ViewOf(problem.out);
  args.dtype = DTypeOf(problem.q.scalar_type());
  args.projection = problem.projection.const_data_ptr<float>();
  args.projection_row_stride = problem.projection.stride(1);
  args.projection_head_stride = problem.projection.size(0) == 1 ? 0 : problem.projection.stride(0);
  args.head_begin = static_cast<int32_t>(part.head_begin);
  args.head_end = static_cast<int32_t>(part.head_end);
  args.dim = static_cast<int32_t>(problem.q.size(2));
  args.features = static_cast<int32_t>(problem.projection.size(1));
  args.value_dim = static_cast<int32_t>(problem.v.size(2));
  args.trigonometric = problem.features.map == FeatureMap::kTrf;
  args.normalize = problem.features.normalize;
  args.scale = problem.features.scale;
  SequenceView& sequences = args.sequences;
  if (problem.cu_seqlens.defined()) sequences.cu_seqlens = problem.cu_seqlens.const_data_ptr<int>();
  sequences.count = static_cast<int32_t>(problem.sequences.size());
  for (const Sequence& sequence : problem.sequences) {
    sequences.length = std::max(sequences.length, static_cast<int32_t>(sequence.length));
  }
  sequences.min_length = static_cast<int32_t>(part.min_length);
  sequences.max_length = static_cast<int32_t>(std::min(part.max_length, kMaxTokens));
  sequences.tokens = problem.q.size(0);
  args.bias = ViewOf(*problem.bias, problem.q.device());
  return args;
}

}  // namespace longwave::attention::cuda
