// The algorithm "fft" of CUDA devices: near band, floor and diagonals by tiles, the rest by three
// passes over some channels at a time, rows in doubt in float64.
#include <ATen/cuda/CUDAContext.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGraphsC10Utils.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <vector>

#include "model/attention/checkpoint.h"
#include "model/attention/cuda/algorithms.h"
#include "model/attention/cuda/exact_rows.h"
#include "model/attention/cuda/fft_args.h"
#include "model/attention/cuda/fft_block.h"
#include "model/attention/cuda/fft_grid.h"
#include "model/attention/cuda/fft_passes.h"
#include "model/attention/cuda/fft_spectra.h"
#include "model/attention/cuda/problem_args.h"
#include "model/attention/device_cache.h"
#include "model/attention/feature_range.h"
#include "model/attention/fft_refusal.h"

namespace longwave::attention::cuda {
namespace {

// Channels in flight may take so many bytes. Few enough to stay in the second-level cache between
// the passes would be too few to keep the device busy (docs/kernels.md).
constexpr int64_t kChannelBytes = int64_t{256} << 20;

// What a launch's heads keep may take so many bytes, but for one head.
constexpr int64_t kHeadBytes = int64_t{768} << 20;

// Blocks of a pass that keep the device busy.
constexpr int kWantedBlocks = 1056;

constexpr int64_t kMaxTokens = int64_t{kMaxFftPoints} / 2;
constexpr int64_t kMaxSize = 128;  // of heads and features

int64_t TransformSize(int64_t length) {
  const int64_t smallest = int64_t{kMinBlockPoints} * kMinBlockPoints;
  return std::max<int64_t>(smallest, std::bit_ceil(static_cast<uint64_t>(2 * length - 1)));
}

int64_t EvenFeatures(int64_t features) { return (features + 1) / 2 * 2; }
int64_t Pairs(int64_t value_dim) { return (value_dim + 1) / 2; }

// Floats that a head keeps for each token: phi twice, values, numerators, denominators; states of
// chunks and their sums.
int64_t TokenFloats(int64_t features, int64_t value_dim) {
  return 2 * EvenFeatures(features) + 4 * Pairs(value_dim) + 2 +
         2 * EvenFeatures(features) * (value_dim + 4) / kFftChunk;
}

template <typename T>
T* Data(const at::Tensor& x) {
  return x.defined() ? static_cast<T*>(const_cast<void*>(x.const_data_ptr())) : nullptr;
}

// Whether exponents are formed in float64.
bool IsWide(const FeatureRange& range) { return !(range.exponent <= kFftSmallExponent); }

bool Capturing() {
  return c10::cuda::currentStreamCaptureStatusMayInitCtx() != c10::cuda::CaptureStatus::None;
}

// Rows of some heads that are computed exactly at the end.
struct RepairList {
  RepairList(const Problem& problem, int64_t heads)
      : count(at::zeros({1}, problem.q.options().dtype(at::kInt))),
        rows(at::empty({problem.q.size(0) * heads}, problem.q.options().dtype(at::kLong))) {}

  at::Tensor count, rows;
};

// One sequence, of up to `length` tokens, and some heads.
class Solver {
 public:
  Solver(const Part& part, int sequence, int64_t length, const RepairList& list,
         const FftSpectra& spectra, cudaStream_t stream)
      : part_(part),
        problem_(*part.problem),
        length_(length),
        grid_(problem_.bias->Table().grid_width > 0),
        spectra_(spectra),
        options_(problem_.q.options()),
        stream_(stream) {
    args_.attention = MakeArgs(part);
    args_.tensor_heads = static_cast<int32_t>(problem_.heads());
    args_.sequence = sequence;
    args_.heads = static_cast<int32_t>(part.head_end - part.head_begin);
    args_.features = static_cast<int32_t>(EvenFeatures(problem_.feature_dim()));
    args_.pairs = static_cast<int32_t>(Pairs(problem_.v.size(2)));
    if (grid_) {
      args_.capacity = static_cast<int32_t>(length_);
    } else {
      const int64_t size = TransformSize(length_);
      args_.rows = FftRows(size);
      args_.columns = static_cast<int32_t>(size / args_.rows);
      args_.capacity = static_cast<int32_t>(size / 2);
      spectrum_ = spectra.Get(*problem_.bias, length_, args_.rows, args_.columns);
      args_.spectrum = Data<float2>(spectrum_->values);
      args_.weight_norms = Data<float>(spectrum_->norms);
      args_.near = Data<FftNear>(spectrum_->near);
      args_.roots = Data<float2>(spectra.roots());
    }
    args_.doubtful_count = Data<int32_t>(list.count);
    args_.doubtful_rows = Data<int64_t>(list.rows);
    // Rounding the output to 16 bits takes its part.
    const bool rounded = problem_.out.scalar_type() != at::kFloat;
    args_.allowed = static_cast<float>(problem_.tolerance / (rounded ? 2 : 1));
  }

  void Run(OnDoubt on_doubt) {
    LoadOperands();
    if (grid_) {
      numerators_.zero_();
      denominators_.zero_();
    } else {
      AddNear();
    }
    AddFar(/*denominators=*/true);
    const std::vector<int64_t> lost = Judge(on_doubt);
    if (static_cast<int64_t>(lost.size()) < args_.heads) {
      AddFar(/*denominators=*/false);
      C10_CUDA_CHECK(LaunchFftStore(args_, stream_));
    }
    for (const int64_t head : lost) {
      Problem alone = problem_;  // of this sequence
      const int64_t begin = problem_.sequences[args_.sequence].begin;
      for (at::Tensor* const x : {&alone.q, &alone.k, &alone.v, &alone.out}) {
        *x = x->narrow(0, begin, length_);
      }
      alone.sequences = {{0, length_}};
      alone.cu_seqlens = at::Tensor();
      Part direct;
      direct.problem = &alone;
      direct.head_begin = head;
      direct.head_end = head + 1;
      Direct().Run(direct, OnDoubt::kRepair);
    }
  }

 private:
  at::Tensor Floats(at::IntArrayRef sizes) const {
    return at::empty(sizes, options_.dtype(at::kFloat));
  }
  at::Tensor Ints(at::IntArrayRef sizes) const {
    return at::empty(sizes, options_.dtype(at::kInt));
  }

  void LoadOperands() {
    const int64_t heads = args_.heads, tokens = args_.capacity;
    phi_q_ = Floats({heads, args_.features, tokens});
    phi_k_ = Floats({heads, args_.features, tokens});
    values_ = Floats({heads, args_.pairs, tokens, 2});
    numerators_ = Floats({heads, args_.pairs, tokens, 2});
    denominators_ = Floats({heads, tokens, 2});
    largest_ = Ints({heads, 2 * args_.pairs});
    noise_ = Floats({heads, args_.features / 2});
    args_.phi_q = Data<float>(phi_q_);
    args_.phi_k = Data<float>(phi_k_);
    args_.values = Data<float2>(values_);
    args_.numerators = Data<float2>(numerators_);
    args_.denominators = Data<float2>(denominators_);
    args_.largest = Data<int32_t>(largest_);
    args_.noise = Data<float>(noise_);
    const auto& [map, normalize, scale] = problem_.features;
    // The projection is on the device: what is typical has to do.
    const bool wide = IsWide(FeatureRange::Typical(problem_.q.size(2), normalize, scale));
    if (wide) key_maxima_ = Ints({heads, args_.features});
    args_.key_maxima = Data<int32_t>(key_maxima_);
    C10_CUDA_CHECK(LaunchFftOperands(args_, wide, stream_));
  }

  void AddNear() {
    at::Tensor states;
    if (spectrum_->floors) {
      const int64_t chunks = args_.capacity / kFftChunk;
      states = Floats({2, args_.heads, chunks, FftStateSize(args_)});
      args_.states = Data<float>(states);
      args_.state_sums = args_.states + states.stride(0);
    }
    C10_CUDA_CHECK(LaunchFftNear(args_, spectrum_->floors, stream_));
  }

  void AddFar(bool denominators) {
    if (grid_) {
      const GridConvolution convolution(*problem_.bias, length_, spectra_);
      for (int64_t h = 0; h < args_.heads; ++h) {
        const int64_t head = part_.head_begin + h;
        if (denominators) {
          convolution.AddDenominators(head, phi_q_[h], phi_k_[h], denominators_[h]);
        } else {
          convolution.AddNumerators(head, phi_q_[h], phi_k_[h], values_[h], numerators_[h]);
        }
      }
    } else if (spectrum_->transforms && denominators) {
      const at::Tensor energies = Floats({args_.heads, args_.features / 2, FftRowBlocks(args_)});
      args_.energies = Data<float>(energies);
      Steps(args_.heads, args_.features / 2, denominators);
    } else if (spectrum_->transforms) {
      Steps(args_.heads * args_.pairs, args_.features, denominators);
    }
  }

  void Steps(int units, int channels, bool denominators) {
    const int64_t channel_bytes = 2 * args_.capacity * static_cast<int64_t>(sizeof(float2));
    const int blocks = FftBlocks(args_);
    const int units_at_once = std::min(units, (kWantedBlocks + blocks - 1) / blocks);
    const int channels_at_once = static_cast<int>(
        std::clamp<int64_t>(kChannelBytes / (units_at_once * channel_bytes), 1, channels));
    const at::Tensor in_flight =
        Floats({units_at_once, channels_at_once, 2 * int64_t{args_.capacity}, 2});
    args_.channels = Data<float2>(in_flight);
    FftStep step;
    step.denominators = denominators;
    for (step.unit_begin = 0; step.unit_begin < units; step.unit_begin += units_at_once) {
      step.units = std::min(units_at_once, units - step.unit_begin);
      for (step.channel_begin = 0; step.channel_begin < channels;
           step.channel_begin += channels_at_once) {
        step.channels = std::min(channels_at_once, channels - step.channel_begin);
        C10_CUDA_CHECK(LaunchFftPasses(args_, step, stream_));
      }
      Checkpoint();  // every few milliseconds
    }
  }

  // Lists the rows in doubt. Returns the heads that have too many to be computed row by row; it
  // waits for their number, but for a graph that is being captured, where they are listed, too.
  std::vector<int64_t> Judge(OnDoubt on_doubt) {
    const at::Tensor counts = Ints({2, args_.heads});
    args_.head_doubtful = Data<int32_t>(counts);
    args_.first_doubtful = args_.head_doubtful + args_.heads;
    C10_CUDA_CHECK(LaunchFftJudge(args_, stream_));
    std::vector<int64_t> lost;
    args_.most_doubtful = std::numeric_limits<int32_t>::max();
    if (!Capturing()) {
      args_.most_doubtful = MostRepairs();
      const at::Tensor on_host = counts.cpu();
      const int32_t* const rows = on_host.const_data_ptr<int32_t>();
      for (int64_t h = 0; h < args_.heads; ++h) {
        const int64_t head = part_.head_begin + h, first = rows[args_.heads + h];
        if (on_doubt == OnDoubt::kRaise && TooManyFftRepairs(rows[h], length_)) {
          RefuseFft(rows[h], length_, head, first, denominators_[h][first][1].item<float>(),
                    args_.allowed);
        }
        if (rows[h] > args_.most_doubtful) lost.push_back(head);
      }
    }
    C10_CUDA_CHECK(LaunchFftList(args_, stream_));
    return lost;
  }

  // Rows of a head that take as long in float64 as all of them by tiles.
  int32_t MostRepairs() const {
    Shape shape;
    shape.length = length_;
    shape.dim = problem_.q.size(2);
    shape.feature_dim = problem_.feature_dim();
    shape.value_dim = problem_.v.size(2);
    shape.map = problem_.features.map;
    shape.causal = problem_.bias->causal();
    shape.device = problem_.q.device().type();
    shape.dtype = problem_.q.scalar_type();
    shape.bias = problem_.bias;
    shape.range =
        FeatureRange::Typical(shape.dim, problem_.features.normalize, problem_.features.scale);
    shape.tolerance = problem_.tolerance;
    const double exact = Reference().Predict(shape).milliseconds / static_cast<double>(length_);
    const double rows = Direct().Predict(shape).milliseconds / exact;
    return static_cast<int32_t>(std::min(rows, static_cast<double>(length_)));
  }

  const Part& part_;
  const Problem& problem_;
  const int64_t length_;
  const bool grid_;
  const FftSpectra& spectra_;
  const at::TensorOptions options_;
  const cudaStream_t stream_;
  std::shared_ptr<const FftSpectrum> spectrum_;  // null for grids
  FftArgs args_;
  at::Tensor phi_q_, phi_k_, values_, numerators_, denominators_, largest_, noise_, key_maxima_;
};

class FftAlgorithm final : public Algorithm {
 public:
  std::string_view name() const override { return "fft"; }

  bool Serves(FeatureMap map) const override { return map == FeatureMap::kPrf; }

  std::optional<std::string> WhyNot(const Shape& shape) const override {
    if (!Serves(shape.map)) return "needs non-negative features";
    if (shape.length > kMaxTokens) return "takes up to " + std::to_string(kMaxTokens) + " tokens";
    if (std::max({shape.dim, shape.feature_dim, shape.value_dim}) > kMaxSize) {
      return "takes head sizes up to " + std::to_string(kMaxSize);
    }
    const int64_t bytes = FftOperandsBytes(shape.dim, shape.feature_dim, IsWide(shape.range));
    const auto most =
        static_cast<int64_t>(at::cuda::getCurrentDeviceProperties()->sharedMemPerBlockOptin);
    if (bytes > most) {
      return "needs " + std::to_string(bytes) + " bytes of shared memory, of which this GPU has " +
             std::to_string(most);
    }
    return std::nullopt;
  }

  Estimate Predict(const Shape& shape) const override {
    const bool grid = shape.bias->Table().grid_width > 0;
    const double n = static_cast<double>(shape.length);
    const int64_t points = grid ? shape.transform_size : TransformSize(shape.length);
    const double channels =
        static_cast<double>(Pairs(shape.feature_dim) + shape.feature_dim * Pairs(shape.value_dim));
    const double features = static_cast<double>(shape.feature_dim);
    const double values = static_cast<double>(shape.value_dim);
    constexpr double kTiles = 2 * kFftNearChunks + 1;
    const double near =
        grid ? 0 : 2 * n * (kTiles * kFftChunk * (features + values) + 2 * features * values);
    const double size = static_cast<double>(points);
    const CostConstants& costs = *shape.costs;
    const double call_ms = 1e-3 * costs.cuda_fft_us_per_call;
    const double ms = call_ms / static_cast<double>(shape.units) +
                      1e-9 * (channels * size *
                                  (grid ? costs.cuda_fft_grid_ps_per_point
                                        : 2 * 5 * std::log2(size) * costs.cuda_fft_ps_per_flop) +
                              near * costs.cuda_fft_near_ps_per_flop);
    return {
        ms, shape.tolerance,
        4 * (grid ? shape.length : points / 2) * TokenFloats(shape.feature_dim, shape.value_dim),
        call_ms};
  }

  void Run(const Part& part, OnDoubt on_doubt) const override {
    const Problem& problem = *part.problem;
    const c10::cuda::CUDAGuard guard(problem.q.device());
    const cudaStream_t stream = c10::cuda::getCurrentCUDAStream();
    const at::Device device = problem.q.device();
    const auto spectra = problem.bias->device_cache().Get<FftSpectra>(
        device.index(), [&] { return std::make_shared<const FftSpectra>(device); });
    int64_t longest = 0;
    for (const Sequence& sequence : problem.sequences) {
      if (Takes(part, sequence)) longest = std::max(longest, sequence.length);
    }
    if (longest == 0) return;
    // A graph may be replayed with other lengths, and an empty sequence no longer be one: each is
    // computed as if it had the tokens of the longest.
    const bool any_length = problem.cu_seqlens.defined() && Capturing();
    const int64_t head_bytes =
        TransformSize(longest) * 2 * TokenFloats(problem.feature_dim(), problem.v.size(2));
    const int64_t step = std::max<int64_t>(1, kHeadBytes / head_bytes);
    Part some = part;
    for (some.head_begin = part.head_begin; some.head_begin < part.head_end;
         some.head_begin = some.head_end) {
      some.head_end = std::min(part.head_end, some.head_begin + step);
      const RepairList list(problem, some.head_end - some.head_begin);
      for (size_t s = 0; s < problem.sequences.size(); ++s) {
        if (!any_length && !Takes(part, problem.sequences[s])) continue;
        const int64_t length = any_length ? longest : problem.sequences[s].length;
        Solver(some, static_cast<int>(s), length, list, *spectra, stream).Run(on_doubt);
      }
      const RowList rows{Data<int32_t>(list.count), Data<int64_t>(list.rows)};
      C10_CUDA_CHECK(
          LaunchExactRows(MakeArgs(some), static_cast<int>(problem.heads()), &rows, stream));
    }
  }

 private:
  static bool Takes(const Part& part, const Sequence& sequence) {
    return sequence.length > 0 && sequence.length >= part.min_length &&
           sequence.length <= part.max_length;
  }
};

}  // namespace

const Algorithm& Fft() {
  static const FftAlgorithm algorithm;
  return algorithm;
}

}  // namespace longwave::attention::cuda
