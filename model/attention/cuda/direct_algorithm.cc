// The algorithm "direct" of CUDA devices: operands as tiles, the quadratic part on tensor cores,
// rows in doubt in float64.
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "model/attention/cuda/algorithms.h"
#include "model/attention/cuda/direct_costs.h"
#include "model/attention/cuda/direct_fused_plan.h"
#include "model/attention/cuda/direct_tiles.h"
#include "model/attention/cuda/direct_workspace.h"
#include "model/attention/cuda/exact_rows.h"
#include "model/attention/cuda/problem_args.h"
#include "model/attention/device_cache.h"
#include "model/attention/feature_range.h"

namespace longwave::attention::cuda {
namespace {

// float32 [heads, L] each, on the device.
struct UploadedMaxima {
  at::Tensor left, right;
};

// Distances 0, -1, ... and 0, 1, ... In a grid every token is held to reach every distance.
UploadedMaxima MaximaOf(const BiasTable& bias, const at::Device& device) {
  const at::Tensor& table = bias.values;
  if (bias.grid_width > 0) {
    const at::Tensor all = table.amax({1, 2}).unsqueeze(1).contiguous().to(device);
    return {all, all};
  }
  const int64_t heads = table.size(0), columns = table.size(2), edge = columns / 2;
  at::Tensor left = at::empty({heads, edge + 1}, at::kFloat),
             right = at::empty({heads, edge + 1}, at::kFloat);
  for (int64_t h = 0; h < heads; ++h) {
    const float* const centre = table.const_data_ptr<float>() + h * columns + edge;
    float* const to_left = left.mutable_data_ptr<float>() + h * (edge + 1);
    float* const to_right = right.mutable_data_ptr<float>() + h * (edge + 1);
    to_left[0] = to_right[0] = centre[0];
    for (int64_t t = 1; t <= edge; ++t) {
      to_left[t] = std::max(to_left[t - 1], centre[-t]);
      to_right[t] = std::max(to_right[t - 1], centre[t]);
    }
  }
  return {left.to(device), right.to(device)};
}

RunningMaxima MaximaOf(const PositionBias& bias, const at::Device& device) {
  const auto uploaded = bias.device_cache().Get<UploadedMaxima>(device.index(), [&] {
    return std::make_shared<const UploadedMaxima>(MaximaOf(bias.Table(), device));
  });
  return {uploaded->left.const_data_ptr<float>(), uploaded->right.const_data_ptr<float>(),
          static_cast<int32_t>(uploaded->left.size(1))};
}

// Rows of a block and splits of the keys that keep the multiprocessors busy.
void ChooseGrid(int multiprocessors, DirectArgs& args) {
  const SequenceView& sequences = args.attention.sequences;
  const auto blocks = [&](int groups) {
    const int64_t rows = 64 * groups;
    return (sequences.tokens / rows + sequences.count) * args.operands.heads;
  };
  const auto waves = [&](int groups) {
    return (blocks(groups) + multiprocessors - 1) / multiprocessors;
  };
  // Three groups keep the tensor cores 4% busier than two (bench/results), where the tail of the
  // last wave does not cost more.
  args.row_groups =
      args.operands.parts == 1 && args.operands.v.panels == 1 &&
              static_cast<double>(waves(3) * 3) <= 2.08 * static_cast<double>(waves(2))
          ? 3
          : 2;
  const int64_t key_tiles = sequences.length / kTileRows;
  args.splits = static_cast<int32_t>(std::clamp<int64_t>(
      std::min(multiprocessors / blocks(args.row_groups), key_tiles / 4), 1, 16));
}

class DirectAlgorithm final : public Algorithm {
 public:
  std::string_view name() const override { return "direct"; }

  bool Serves(FeatureMap) const override { return true; }

  Estimate Predict(const Shape& shape) const override {
    if (!OnTensorCores(shape)) return Reference().Predict(shape);
    const auto [products, parts, error] = PrecisionOf(shape.dtype);
    const bool hopper = OnHopper(shape.bias->Table().grid_width);
    const CostConstants& costs = *shape.costs;
    const auto units = static_cast<double>(shape.units);
    const EqualSequences sequences{shape.length, shape.units};
    const DirectWidths widths{PaddedFeatures(shape.feature_dim),
                              kPanelColumns * Panels(shape.value_dim), parts, products,
                              shape.causal};
    double call_ms = 1e-3 * costs.cuda_direct_us_per_call;
    double ms = call_ms + TilesMilliseconds({&sequences, 1}, widths, hopper, costs);
    if (hopper && ForFused(shape)) {
      const auto fused = ChooseFusedLayout({&sequences, 1}, shape.causal, Multiprocessors(), costs);
      if (fused.has_value() && fused->milliseconds < ms) {
        ms = fused->milliseconds;
        call_ms = fused->call_milliseconds;
      }
    }
    return {ms / units, error,
            shape.length * parts * kPanelRowBytes *
                (2 * Panels(shape.feature_dim) + Panels(shape.value_dim)),
            call_ms};
  }

  void Run(const Part& part, OnDoubt) const override {
    const Problem& problem = *part.problem;
    const c10::cuda::CUDAGuard guard(problem.q.device());
    const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
    DirectArgs args;
    args.attention = MakeArgs(part);
    const AttentionArgs& attention = args.attention;
    if (!OnTensorCores(problem)) {
      C10_CUDA_CHECK(
          LaunchExactRows(attention, static_cast<int>(problem.heads()), nullptr, stream));
      return;
    }

    args.maxima = MaximaOf(*problem.bias, problem.q.device());
    const int multiprocessors = Multiprocessors();
    if (const std::optional<FusedPlan> plan = PlanFused(problem, attention, multiprocessors)) {
      const cudaError_t error = LaunchDirectFused(args, *plan, stream);
      if (error != cudaErrorNotSupported) {
        C10_CUDA_CHECK(error);
        return;
      }
    }

    const DirectWorkspace workspace(problem, args);
    const DirectOperands& operands = args.operands;
    const bool hopper = OnHopper(attention.bias.grid_width);
    if (hopper) ChooseGrid(multiprocessors, args);
    at::Tensor sums, denominators;
    if (args.splits > 1) {
      const at::TensorOptions floats = problem.q.options().dtype(at::kFloat);
      denominators = at::empty({args.splits, operands.heads, operands.rows}, floats);
      sums = at::empty(
          {args.splits, operands.heads, operands.rows, operands.v.panels * kPanelColumns}, floats);
      args.denominators = denominators.mutable_data_ptr<float>();
      args.sums = sums.mutable_data_ptr<float>();
    }

    C10_CUDA_CHECK(LaunchDirectOperands(args, stream));
    C10_CUDA_CHECK(hopper ? LaunchDirectHopper(args, stream) : LaunchDirectMma(args, stream));
    if (args.splits > 1) C10_CUDA_CHECK(LaunchDirectCombine(args, stream));
    workspace.Repair(args, stream);
  }

 private:
  struct Precision {
    int64_t products;  // of parts, for every product
    int64_t parts;
    double error;
  };
  static Precision PrecisionOf(at::ScalarType dtype) {
    switch (dtype) {
      case at::kBFloat16:
        return {1, 1, 4e-3};
      case at::kHalf:
        return {3, 2, 5e-4};
      default:
        return {6, 3, 3e-6};
    }
  }

  static int64_t PaddedFeatures(int64_t features) {
    int64_t padded = 16;
    while (padded < features) padded *= 2;
    return padded;
  }

  static int Multiprocessors() {
    return at::cuda::getCurrentDeviceProperties()->multiProcessorCount;
  }

  // FusedServes, if the tensors lie well.
  static bool ForFused(const Shape& shape) {
    return shape.dtype == at::kBFloat16 && shape.map == FeatureMap::kPrf &&
           shape.range.exponent <= kMaxUnshiftedExponent &&
           std::max({shape.dim, shape.feature_dim, shape.value_dim}) <= kPanelColumns;
  }

  static bool OnHopper(int64_t grid_width) { return grid_width == 0 && HasDirectHopper(); }

  // exponent: as FeatureRange has it. A float32 feature errs by 1e-7 times it, too much for large
  // ones: those are computed in float64.
  static bool OnTensorCores(at::ScalarType dtype, double exponent, int64_t dim, int64_t features,
                            int64_t value_dim) {
    return dtype != at::kDouble && (dtype != at::kFloat || exponent <= kMaxFloatExponent) &&
           std::max({dim, features, value_dim}) <= kMaxColumns &&
           at::cuda::getCurrentDeviceProperties()->major >= 8;
  }
  static bool OnTensorCores(const Shape& shape) {
    return OnTensorCores(shape.dtype, shape.range.exponent, shape.dim, shape.feature_dim,
                         shape.value_dim);
  }
  static bool OnTensorCores(const Problem& problem) {
    const auto& [map, normalize, scale] = problem.features;
    // The projection is on the device: what is typical has to do.
    const double exponent = FeatureRange::Typical(problem.q.size(2), normalize, scale).exponent;
    return OnTensorCores(problem.q.scalar_type(), exponent, problem.q.size(2),
                         problem.feature_dim(), problem.v.size(2));
  }
};

}  // namespace

const Algorithm& Direct() {
  static const DirectAlgorithm algorithm;
  return algorithm;
}

}  // namespace longwave::attention::cuda
