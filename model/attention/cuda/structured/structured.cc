// The algorithms "structured" and "low_rank" of CUDA devices.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/attention/checkpoint.h"
#include "model/attention/cuda/algorithms.h"
#include "model/attention/cuda/exact_rows.h"
#include "model/attention/cuda/problem_args.h"
#include "model/attention/cuda/structured/coarse_fields.h"
#include "model/attention/cuda/structured/device_plan.h"
#include "model/attention/cuda/structured/kernels.h"
#include "model/attention/device_cache.h"
#include "model/attention/structured/chunked_attention.h"
#include "model/attention/structured/prepared_head.h"

namespace longwave::attention::cuda {
namespace {

// Memory that a launch may take: heads are computed a few at a time where all would need more.
constexpr int64_t kWorkspaceBytes = int64_t{1} << 30;

// Tokens times heads between two checkpoints, where there are any: a millisecond or two.
constexpr int64_t kPieceTokens = int64_t{1} << 20;

// Rounding of features, tiles and states, as a share of max|v|.
double Rounding(const Shape& shape) {
  switch (shape.dtype) {
    case at::kBFloat16:
      return 4e-3;
    case at::kHalf:
      return 6e-4;
    default:
      return 5e-7 + 1e-7 * shape.range.exponent;
  }
}

// The largest |w| for which normalised tokens keep features in float32's range and a structure's
// error within the tolerance.
double LargestNorm(const TableStructure& structure, double scale, int64_t length,
                   double tolerance) {
  scale = std::max(std::abs(scale), 1e-30);
  const double half_square = 0.5 * scale * scale;
  double largest = (kMaxExponent - half_square) / scale;
  if (structure.drops_small) {
    // ErrorBound, solved for the spread; half of the tolerance is for it and half for rounding.
    const double spread =
        structure.threshold - 1 +
        std::log(0.5 * tolerance / static_cast<double>(std::max<int64_t>(length, 1)));
    largest = std::min(largest, (spread - half_square) / (2 * scale));
  }
  return largest;
}

// Whether the tensor cores can read a token tensor: rows of whole 16-byte pieces.
bool Aligned(const at::Tensor& x) {
  return reinterpret_cast<uintptr_t>(x.const_data_ptr()) % 16 == 0 && x.stride(0) % 8 == 0 &&
         x.stride(1) % 8 == 0 && x.size(2) % 8 == 0 && x.size(2) <= kMmaSize;
}

bool TakesMma(const Problem& problem) {
  const at::Tensor& w = problem.projection;
  return reinterpret_cast<uintptr_t>(w.const_data_ptr()) % 16 == 0 && w.stride(0) % 4 == 0 &&
         w.stride(1) % 4 == 0 && problem.q.scalar_type() == at::kBFloat16 &&
         problem.projection.size(1) <= kMmaSize && Aligned(problem.q) && Aligned(problem.k) &&
         Aligned(problem.v) && Aligned(problem.out);
}

// Whether the kernels for tensor cores take it, if its tensors lie well.
bool ForMma(const Shape& shape) {
  return shape.dtype == at::kBFloat16 &&
         std::max({shape.dim, shape.feature_dim, shape.value_dim}) <= kMmaSize;
}

// What a table is cut into: exactly, with a smooth far field, or with a coarse one.
enum class Cut { kExact, kSmooth, kCoarse };

using Heads = std::vector<DevicePlan::Head>;

// Of a table, for every head; made once for each kind.
template <Cut kCut>
struct CutHeads {
  Heads heads;
  std::shared_ptr<const CoarseFields> coarse;  // owns what heads point at
};

template <Cut kCut>
std::shared_ptr<const CutHeads<kCut>> HeadsOf(const PositionBias& bias) {
  constexpr int kHost = -1;
  return bias.device_cache().Get<CutHeads<kCut>>(kHost, [&] {
    auto cut = std::make_shared<CutHeads<kCut>>();
    const int64_t heads = bias.Table().values.size(0);
    if (kCut == Cut::kCoarse) cut->coarse = std::make_shared<const CoarseFields>(bias);
    for (int64_t head = 0; head < heads; ++head) {
      DevicePlan::Head& plan = cut->heads.emplace_back();
      const PreparedHead* const prepared = bias.Structure(head, kCut != Cut::kExact);
      if (prepared != nullptr) plan.structure = &prepared->structure();
      const CoarseField* const field = cut->coarse ? cut->coarse->Of(head) : nullptr;
      if (field != nullptr) plan = {&field->structure, field->basis};
    }
    return cut;
  });
}

template <Cut kCut>
struct CachedPlan : DevicePlan {
  using DevicePlan::DevicePlan;
};

template <Cut kCut>
std::shared_ptr<const DevicePlan> PlanOf(const PositionBias& bias, const at::Device& device) {
  const auto cut = HeadsOf<kCut>(bias);
  return bias.device_cache().Get<CachedPlan<kCut>>(
      device.index(), [&] { return std::make_shared<CachedPlan<kCut>>(bias, cut->heads, device); });
}

template <bool kSmooth>
class BlockAlgorithm final : public Algorithm {
 public:
  std::string_view name() const override { return kSmooth ? "low_rank" : "structured"; }

  bool Serves(FeatureMap map) const override { return map == FeatureMap::kPrf; }

  std::optional<std::string> WhyNot(const Shape& shape) const override {
    if (!Serves(shape.map)) return "needs non-negative features";
    if (!(shape.range.exponent <= kMaxExponent)) {
      return "needs normalised tokens and features within exp(+-" +
             std::to_string(static_cast<int>(kMaxExponent)) + ")";
    }
    if (shape.bias->Structure(shape.head, kSmooth) == nullptr) {
      return kSmooth ? "finds no smooth far field" : "needs a table of distances";
    }
    const TableStructure& structure = *HeadOf(shape).structure;
    if (structure.HasBoundedDecays()) return "needs decays that reach to the table's end";
    const int64_t chunks = (shape.length + kBlock / 2 - 1) / (kBlock / 2);
    if (structure.DirectTiles(shape.length) >= chunks && chunks > 1) return "finds no structure";
    if (shape.length > structure.max_tokens) {
      return "holds for up to " + std::to_string(structure.max_tokens) + " tokens";
    }
    const double bound = structure.ErrorBound(shape.length, shape.range.spread) + Rounding(shape);
    if (!(bound <= shape.tolerance)) return "has an error bound of " + std::to_string(bound);
    return std::nullopt;
  }

  Estimate Predict(const Shape& shape) const override {
    const DevicePlan::Head head = HeadOf(shape);
    const TableStructure& structure = *head.structure;
    const BlockStructure blocks(structure, head.basis);
    const bool mma = ForMma(shape);
    const double m = static_cast<double>(shape.feature_dim), d = static_cast<double>(shape.dim),
                 e = static_cast<double>(shape.value_dim);
    const double groups = static_cast<double>(blocks.groups.size());
    const int64_t slots = (shape.length + kBlock - 1) / kBlock;
    const double tile_columns = 2 * kBlock * static_cast<double>(blocks.DirectTiles(shape.length));
    const CostConstants& costs = *shape.costs;
    double call_ms, ms;
    if (mma) {
      call_ms = 1e-3 * costs.cuda_structured_us_per_call;
      ms = 1e-3 * costs.cuda_structured_us_per_sequence +
           1e-9 * MmaPicoseconds(blocks, static_cast<double>(slots), tile_columns, costs);
    } else {
      call_ms = 1e-3 * costs.cuda_structured_simt_us_per_call;
      ms = 1e-9 * static_cast<double>(shape.length) * costs.cuda_structured_simt_ps_per_flop *
           (tile_columns * (m + e) + 8 * d * m + 4 * groups * m * e);
    }
    ms += call_ms / static_cast<double>(shape.units);
    return {ms, structure.ErrorBound(shape.length, shape.range.spread) + Rounding(shape),
            slots * kBlock * static_cast<int64_t>(mma ? 2 * kMmaSize : 8 * m) +
                slots * static_cast<int64_t>(groups * 2 * m * (e + 8) * (mma ? 2 : 4)),
            call_ms};
  }

  void Run(const Part& part, OnDoubt) const override {
    const Problem& problem = *part.problem;
    const at::Device device = problem.q.device();
    const c10::cuda::CUDAGuard guard(device);
    const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
    const bool mma = TakesMma(problem);
    const PositionBias& bias = *problem.bias;
    const auto plan = !kSmooth ? PlanOf<Cut::kExact>(bias, device)
                      : mma    ? PlanOf<Cut::kCoarse>(bias, device)
                               : PlanOf<Cut::kSmooth>(bias, device);

    StructuredArgs args;
    args.base = MakeArgs(part);
    args.plan = plan->view();
    args.heads = static_cast<int32_t>(problem.heads());
    args.slots = SlotCount(args.base.sequences);
    const StateShape simt = SimtState(args.base.features, args.base.value_dim);
    const int64_t element = mma ? 2 : 4;
    const int64_t state = mma ? kMmaState : simt.size();
    const int64_t features =
        Round(args.slots * kBlock * (mma ? kMmaSize : simt.features) * element);
    const int64_t states = Round(args.slots * args.plan.max_groups * state * element);
    const int64_t per_head = features * (mma ? 1 : 2) + 2 * states;
    int64_t step = kWorkspaceBytes / std::max<int64_t>(per_head, 1);
    if (HasCheckpoint()) {
      step = std::min(step, kPieceTokens / std::max<int64_t>(problem.q.size(0), 1));
    }
    step = std::clamp<int64_t>(step, 1, part.head_end - part.head_begin);

    const at::TensorOptions bytes = at::TensorOptions().device(device).dtype(at::kByte);
    const int64_t list = Round(problem.q.size(0) * problem.heads() * int64_t{sizeof(int64_t)});
    const at::Tensor workspace = at::empty({256 + list + step * per_head}, bytes);
    char* next = static_cast<char*>(workspace.mutable_data_ptr());
    const auto take = [&next](int64_t size) {
      char* const taken = next;
      next += size;
      return static_cast<void*>(taken);
    };
    args.doubt_count = static_cast<int32_t*>(take(256));
    args.doubt_rows = static_cast<int64_t*>(take(list));
    args.features_k = take(step * features);
    if (!mma) args.features_q = take(step * features);
    args.states = take(step * states);
    void* const sums = take(step * states);

    for (int64_t head = part.head_begin; head < part.head_end; head += step) {
      const int64_t end = std::min(head + step, part.head_end);
      args.base.head_begin = static_cast<int32_t>(head);
      args.base.head_end = static_cast<int32_t>(end);
      args.max_norm = MaxNorm(part, head, end);
      const auto launch = [&](auto... choices) {  // the first of them that can
        cudaError_t error = cudaErrorNotSupported;
        ((error = error == cudaErrorNotSupported ? choices(args, stream) : error), ...);
        C10_CUDA_CHECK(error);
      };
      if (mma) {
        launch(LaunchHopperKeys, LaunchMmaKeys);
      } else {
        launch(LaunchSimtKeys);
      }
      args.sums = sums;
      C10_CUDA_CHECK(LaunchScan(args, state, mma, stream));
      if (mma && args.plan.neighbours) {
        launch(LaunchHopperWalk, LaunchHopperQueries, LaunchMmaQueries);
      } else if (mma) {
        launch(LaunchHopperQueries, LaunchMmaQueries);
      } else {
        launch(LaunchSimtQueries);
      }
      const RowList doubt{args.doubt_count, args.doubt_rows};
      C10_CUDA_CHECK(LaunchExactRows(args.base, args.heads, &doubt, stream));
      if (end < part.head_end) Checkpoint();
    }
  }

 private:
  // Of a sequence of so many blocks. The kernels for tensor cores compute kMmaSize channels and
  // features of any head.
  static double MmaPicoseconds(const BlockStructure& structure, double blocks, double tile_columns,
                               const CostConstants& costs) {
    constexpr double kSize = kMmaSize, kState = kSize * kSize;
    // What a scan takes to begin, in blocks: measured.
    constexpr double kScanStart = 6;
    double constants = 0, decayed = 0;
    for (const StateGroup& group : structure.groups) {
      (group.weighted == 0 || group.mixed != 0 ? constants : decayed) += 1;
    }
    const double ps_per_token =
        (tile_columns * 2 * kSize + 8 * kState) * (structure.Neighbours()
                                                       ? costs.cuda_structured_ps_per_flop
                                                       : costs.cuda_structured_wide_ps_per_flop) +
        constants * kState * costs.cuda_structured_ps_per_state;
    const double ps_per_scanned =
        kState * (kBlock * decayed * costs.cuda_structured_ps_per_decayed_state +
                  MixedScanSteps(structure.mix) * costs.cuda_structured_ps_per_mix);
    return blocks * kBlock * ps_per_token + (blocks + kScanStart) * ps_per_scanned;
  }

  static DevicePlan::Head HeadOf(const Shape& shape) {
    if (!kSmooth) return HeadsOf<Cut::kExact>(*shape.bias)->heads[shape.head];
    return ForMma(shape) ? HeadsOf<Cut::kCoarse>(*shape.bias)->heads[shape.head]
                         : HeadsOf<Cut::kSmooth>(*shape.bias)->heads[shape.head];
  }

  // Pieces of the workspace begin at multiples of 256 bytes.
  static int64_t Round(int64_t size) { return (size + 255) / 256 * 256; }

  static float MaxNorm(const Part& part, int64_t head_begin, int64_t head_end) {
    int64_t longest = 0;
    for (const Sequence& sequence : part.problem->sequences) {
      longest = std::max(longest, sequence.length);
    }
    double largest = std::numeric_limits<float>::max();
    for (int64_t head = head_begin; head < head_end; ++head) {
      largest = std::min(
          largest, LargestNorm(part.problem->bias->Structure(head, kSmooth)->structure(),
                               part.problem->features.scale, longest, part.problem->tolerance));
    }
    return static_cast<float>(std::max(largest, 0.0));
  }
};

}  // namespace

const Algorithm& Structured() {
  static const BlockAlgorithm<false> algorithm;
  return algorithm;
}

const Algorithm& LowRank() {
  static const BlockAlgorithm<true> algorithm;
  return algorithm;
}

}  // namespace longwave::attention::cuda
