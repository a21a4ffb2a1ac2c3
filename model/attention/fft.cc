#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/abs.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/view_as_complex.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "model/attention/algorithm.h"
#include "model/attention/checkpoint.h"
#include "model/attention/direct.h"
#include "model/attention/fft_convolution.h"
#include "model/attention/fft_kernels.h"
#include "model/attention/fft_near.h"
#include "model/attention/fft_refusal.h"
#include "model/attention/piece.h"

// The attention as convolutions by the fast Fourier transform (Luo et al., section 4): sum_j c[j-i]
// phi_r(k_j) v_je for every feature r and value channel e, then the sum over r of phi_r(q_i) times
// it; the denominators likewise without v.
//
// A transform errs relative to its whole input, not to each row: rows with small denominators drown
// in it. So the parts of c that dwarf the rest are summed in other ways (fft_split.h), and the
// denominators come first, with an estimate of their error: rows where it is still too large are
// computed directly.
namespace longwave::attention {
namespace {

// Bytes of the transforms that a thread holds at a time, beside as many of the library's output and
// temporaries: large enough to share the library's set-up, small enough to stay near the core.
constexpr int64_t kStepBytes = int64_t{2} << 20;

// Fewer transforms at a time are slow however large they are.
constexpr int64_t kLeastTransforms = 4;

int64_t TransformsAtATime(int64_t points) {
  return std::max(kLeastTransforms, kStepBytes / (points * int64_t{sizeof(c10::complex<float>)}));
}

// Half as many, and few of large ones, which take milliseconds each.
int64_t TransformsBetweenCheckpoints(int64_t points) {
  return std::max<int64_t>(1, kStepBytes / (2 * points * int64_t{sizeof(c10::complex<float>)}));
}

// Rows that are copied and scaled between two checkpoints.
constexpr int64_t kRowsBetweenCheckpoints = 16384;

// Calls fn(begin, count) for parts of the rows [0, rows), a checkpoint after each.
template <typename Fn>
void ForRows(int64_t rows, const Fn& fn) {
  const int64_t step = HasCheckpoint() ? kRowsBetweenCheckpoints : std::max<int64_t>(1, rows);
  for (int64_t begin = 0; begin < rows; begin += step) {
    fn(begin, std::min(step, rows - begin));
    Checkpoint();
  }
}

// [channels, n] to [channels + channels % 2, n]: channels travel in pairs.
at::Tensor PadToEven(const at::Tensor& x) {
  if (x.size(0) % 2 == 0) return x;
  return at::cat({x, at::zeros({1, x.size(1)}, x.options())}, 0);
}

// [2 pairs, n] to [pairs, n, 2], as real and imaginary parts.
at::Tensor Pair(const at::Tensor& x) {
  return x.view({x.size(0) / 2, 2, x.size(1)}).transpose(1, 2).contiguous();
}

float* Floats(const at::Tensor& complex) {
  return reinterpret_cast<float*>(complex.mutable_data_ptr<c10::complex<float>>());
}

// One sequence and head.
class Solver {
 public:
  Solver(const Piece& piece, const Sequence& sequence, int64_t head, const Convolution& convolution)
      : convolution_(convolution),
        head_(piece.part.head_begin + head),
        tokens_(sequence.length),
        features_(piece.phi.k.size(2)),
        signed_(piece.part.problem->features.map == FeatureMap::kTrf) {
    const int64_t begin = piece.Offset(sequence);
    const auto part = [&](const at::Tensor& x) {
      return x[head].narrow(0, begin, sequence.length);
    };
    const at::Tensor queries = part(piece.phi.q), keys = part(piece.phi.k);
    out_ = part(piece.out);
    // Channels that travel together are brought to one size; one of zeros stays exactly zero.
    const at::Tensor values = part(piece.values);
    largest_ = values.abs().amax(0);
    values_ = values / largest_.masked_fill(largest_.eq(0), 1);
    out_.zero_();
    denominators_ = at::zeros({tokens_}, at::kFloat);
    far_rows_ = at::ones({tokens_}, at::kFloat);
    if (!convolution.splits.empty()) {
      const TableSplit& split = convolution.splits[head_];
      const NearInput input{tokens_,
                            features_,
                            values.size(1),
                            queries.const_data_ptr<float>(),
                            keys.const_data_ptr<float>(),
                            values_.const_data_ptr<float>()};
      SumNear(split, input, out_.mutable_data_ptr<float>(),
              denominators_.mutable_data_ptr<float>());
      float* const far = far_rows_.mutable_data_ptr<float>();
      for (int64_t i = 0; i < tokens_; ++i) far[i] = split.ReachesFar(i, tokens_) ? 1.0F : 0.0F;
      has_far_ = split.nonzero.back() > 0;
    }
    if (!has_far_) return;
    Checkpoint();
    queries_ = convolution.Spread(PadToEven(queries.t()));
    Checkpoint();
    keys_ = convolution.Spread(PadToEven(keys.t()));
  }

  // Completes the denominators. Returns for every row the error of the output to expect, as a share
  // of max|v|: float32 [n]; infinity or NaN where products may have left float32's range.
  at::Tensor Denominators() {
    at::Tensor noise = has_far_ ? AddFarDenominators() : at::zeros({tokens_}, at::kFloat);
    const double tiny =
        1e7 * std::numeric_limits<float>::min() * static_cast<double>(tokens_ * features_);
    const at::Tensor sizes = denominators_.abs();
    return (noise * (2 * kLargestOfMany) / sizes)
        .masked_fill_(sizes.ge(tiny).logical_not_(), std::numeric_limits<float>::infinity());
  }

  // Writes the rows of the output.
  void Outputs() {
    if (has_far_) AddFarSums();
    ForRows(tokens_, [&](int64_t begin, int64_t count) {
      out_.narrow(0, begin, count)
          .mul_(largest_)
          .div_(denominators_.narrow(0, begin, count).unsqueeze(1));
    });
  }

 private:
  // Adds the transformed part of the denominators. Returns how much it may err: float32 [n].
  at::Tensor AddFarDenominators() {
    const double points = static_cast<double>(convolution_.points() * convolution_.parts());
    // Rounding in the two transforms is white: about eps |c| |x| / sqrt(N) an element from the
    // forward one, eps |y| / sqrt(N) from the inverse one. Numerators err no more, as their
    // channels are no larger; so the quotient errs twice. The eps below is that of a rounding times
    // sqrt(log2 N).
    const double eps = std::ldexp(1.0, -24) * std::sqrt(std::log2(points) / points);
    // Squares of errors would leave float32's range where c has decayed far: all of this is in
    // units of |c|.
    const double weights = convolution_.WeightNorm(head_);
    at::Tensor far = at::zeros({convolution_.points()}, at::kFloat);
    at::Tensor variance = at::zeros({convolution_.points()}, at::kFloat);
    const int64_t pairs = keys_.size(0) / 2;
    const int64_t step = TransformsBetweenCheckpoints(convolution_.points());
    for (int64_t p = 0; p < pairs; p += step) {
      const int64_t count = std::min(step, pairs - p);
      const at::Tensor queries = Pair(queries_.narrow(0, 2 * p, 2 * count));
      const at::Tensor keys = Pair(keys_.narrow(0, 2 * p, 2 * count));
      at::Tensor energy;
      const at::Tensor y = Convolve(keys, energy);
      if (signed_) Convolve(keys.abs(), energy);
      far += (y * queries).sum(at::IntArrayRef({0, 2}));
      const at::Tensor norms = keys.square().sum(at::IntArrayRef({1, 2})).sqrt();
      const at::Tensor noise = (norms + energy.sqrt()) * eps;
      variance += (queries.square().sum(2) * noise.square().unsqueeze(1)).sum(0);
      Checkpoint();
    }
    const auto row = [&](const at::Tensor& x) {
      return convolution_.Gather(x.unsqueeze(0), tokens_)[0] * far_rows_;
    };
    denominators_ += row(far);
    return row(variance).sqrt() * weights;
  }

  // x: float32 [channels, points, 2]. Returns y, the same shape; energy receives float32
  // [channels]: the sum of |y|^2 over all points of the doubled transform, in units of |c|^2.
  at::Tensor Convolve(const at::Tensor& x, at::Tensor& energy) const {
    const double weights = convolution_.WeightNorm(head_);
    // Where c lies below float32's range, y is nothing.
    const double unit = weights >= std::numeric_limits<float>::min() ? 1 / weights : 0;
    const int64_t channels = x.size(0), points = convolution_.points();
    at::Tensor result = at::zeros_like(x);
    at::Tensor squares = at::zeros({channels}, at::kFloat);
    for (int64_t part = 0; part < convolution_.parts(); ++part) {
      at::Tensor twisted = at::view_as_complex(x.clone());
      for (int64_t c = 0; c < channels; ++c)
        Filter(points, convolution_.Twist(part), Floats(twisted) + 2 * points * c);
      const at::Tensor y = Filtered(twisted, part);
      squares += (at::view_as_real(y) * unit).square().sum(at::IntArrayRef({1, 2}));
      for (int64_t c = 0; c < channels; ++c)
        AddUntwisted(points, convolution_.Twist(part), Floats(y) + 2 * points * c,
                     result.mutable_data_ptr<float>() + 2 * points * c);
    }
    energy = squares * convolution_.parts();
    return result;
  }

  // x: complex64 [channels, points], already twisted for this part.
  at::Tensor Filtered(const at::Tensor& x, int64_t part) const {
    const at::Tensor spectrum = convolution_.Transform(x, /*forward=*/true);
    for (int64_t c = 0; c < x.size(0); ++c)
      Filter(x.size(1), convolution_.SpectrumOf(head_, part), Floats(spectrum) + 2 * x.size(1) * c);
    return convolution_.Transform(spectrum, /*forward=*/false);
  }

  // What a thread needs for a pair of value channels and a part of the convolution.
  struct PairState {
    explicit PairState(int64_t points, int64_t step)
        : twisted(at::empty({points}, at::kComplexFloat)),
          sum(at::empty({points}, at::kComplexFloat)),
          inputs(at::empty({step, points}, at::kComplexFloat)) {}
    at::Tensor twisted, sum;
    at::Tensor inputs;  // of the transforms
  };

  // Adds the transformed part of the numerators, and gives up what it took. A thread keeps to its
  // pair of value channels: its transforms stay in its cache, and nothing is shared. Where the
  // caller wants to be let in, all threads stop after some features.
  void AddFarSums() {
    at::Tensor values = convolution_.Spread(PadToEven(values_.t()));
    values_.reset();
    Checkpoint();
    values = Pair(values);
    const int64_t pairs = values.size(0), points = convolution_.points();
    const int64_t features = keys_.size(0);
    const int64_t step =
        HasCheckpoint() ? TransformsBetweenCheckpoints(points) : TransformsAtATime(points);
    at::Tensor far = at::zeros({pairs, points, 2}, at::kFloat);
    const auto start = [&](int64_t p, int64_t part, PairState& state) {
      std::copy_n(values.const_data_ptr<float>() + 2 * points * p, 2 * points,
                  Floats(state.twisted));
      Filter(points, convolution_.Twist(part), Floats(state.twisted));
      state.sum.zero_();
    };
    const auto finish = [&](int64_t p, int64_t part, const PairState& state) {
      AddUntwisted(points, convolution_.Twist(part), Floats(state.sum),
                   far.mutable_data_ptr<float>() + 2 * points * p);
    };
    if (HasCheckpoint()) {
      std::vector<PairState> states;
      const int64_t threads = std::min<int64_t>(pairs, at::get_num_threads());
      for (int64_t t = 0; t < threads; ++t) states.emplace_back(points, step);
      for (int64_t begin = 0; begin < pairs; begin += threads) {
        const int64_t count = std::min(threads, pairs - begin);
        const auto for_pairs = [&](const auto& body) {
          at::parallel_for(0, count, 1, [&](int64_t first, int64_t last) {
            const at::AutoDispatchBelowADInplaceOrView guard;
            for (int64_t t = first; t < last; ++t) body(begin + t, states[t]);
          });
          Checkpoint();
        };
        for (int64_t part = 0; part < convolution_.parts(); ++part) {
          for_pairs([&](int64_t p, PairState& state) { start(p, part, state); });
          for (int64_t f = 0; f < features; f += step) {
            for_pairs([&](int64_t, PairState& state) {
              SumOverFeatures(part, f, std::min(features, f + step), state);
            });
          }
          for_pairs([&](int64_t p, PairState& state) { finish(p, part, state); });
        }
      }
    } else {
      at::parallel_for(0, pairs, 1, [&](int64_t begin, int64_t end) {
        const at::AutoDispatchBelowADInplaceOrView guard;
        PairState state(points, step);
        for (int64_t p = begin; p < end; ++p) {
          for (int64_t part = 0; part < convolution_.parts(); ++part) {
            start(p, part, state);
            SumOverFeatures(part, 0, features, state);
            finish(p, part, state);
          }
        }
      });
    }
    for (at::Tensor* const done : {&values, &queries_, &keys_}) done->reset();
    far = far.transpose(1, 2).reshape({2 * pairs, points});
    Checkpoint();
    const at::Tensor found = convolution_.Gather(far, tokens_).narrow(0, 0, out_.size(1));
    ForRows(tokens_, [&](int64_t begin, int64_t count) {
      out_.narrow(0, begin, count)
          .addcmul_(found.narrow(1, begin, count).t(),
                    far_rows_.narrow(0, begin, count).unsqueeze(1));
    });
  }

  // Adds to the state's sum over features r in [begin, end): phi_r(q) * convolution of (phi_r(k) *
  // its twisted values).
  void SumOverFeatures(int64_t part, int64_t begin, int64_t end, PairState& state) const {
    const int64_t points = convolution_.points();
    const float* const keys = keys_.const_data_ptr<float>();
    const float* const queries = queries_.const_data_ptr<float>();
    for (int64_t f = begin; f < end; f += state.inputs.size(0)) {
      const int64_t count = std::min(state.inputs.size(0), end - f);
      for (int64_t r = 0; r < count; ++r) {
        Expand(points, keys + (f + r) * points, Floats(state.twisted),
               Floats(state.inputs) + 2 * points * r);
      }
      const at::Tensor y = Filtered(state.inputs.narrow(0, 0, count), part);
      for (int64_t r = 0; r < count; ++r) {
        Contract(points, queries + (f + r) * points, Floats(y) + 2 * points * r, Floats(state.sum));
      }
    }
  }

  const Convolution& convolution_;
  const int64_t head_;
  const int64_t tokens_;
  const int64_t features_;
  const bool signed_;
  bool has_far_ = true;
  at::Tensor queries_, keys_;  // [features, padded to even; points]
  at::Tensor values_;          // [n, value_dim], each channel at most 1
  at::Tensor largest_;         // [value_dim]
  at::Tensor far_rows_;        // [n]: 1 where the transformed part of c has a key, else 0
  at::Tensor denominators_;    // [n]
  at::Tensor out_;  // [n, value_dim]: until Outputs() ends numerators, in units of largest_
};

class FftAlgorithm final : public Algorithm {
 public:
  std::string_view name() const override { return "fft"; }

  bool Serves(FeatureMap map) const override { return map == FeatureMap::kPrf; }

  Estimate Predict(const Shape& shape) const override {
    const double n = static_cast<double>(shape.length);
    const double size = static_cast<double>(shape.transform_size);
    const double features = static_cast<double>(shape.feature_dim);
    const double values = static_cast<double>(shape.value_dim);
    // Complex channels of the numerators and of the denominators, there and back.
    const double channels = features * std::ceil(values / 2) + features / 2;
    const FarParts parts = shape.bias->PartsOf(shape.head, shape.length);
    const double transforms = parts.transformed ? 2 * channels * 5 * size * std::log2(size) : 0;
    const double tiles = 2 * TableSplit::kNearChunks + 1;
    // Floors take a state of every chunk, which is made, summed up from both ends and multiplied.
    const double states = parts.floors ? n / kChunk * features * values : 0;
    const double near =
        2 * n * kChunk * tiles * (features + values) + 4 * static_cast<double>(kChunk) * states;
    const double near_bytes = sizeof(float) * (n * (features + values) + 2 * states);
    const CostConstants& costs = *shape.costs;
    // The features of a row are computed as for direct.
    const double ms = 1e-9 * (costs.fft_ps_per_flop * transforms + costs.chunk_ps_per_flop * near +
                              costs.chunk_ps_per_byte * near_bytes) +
                      1e-6 * costs.direct_ns_per_row * n + 1e-3 * costs.fft_us_per_head;
    return {ms / shape.threads, shape.tolerance, Workspace(shape, parts)};
  }

  void Run(const Part& part, OnDoubt on_doubt) const override {
    ForEachPiece(part, [&](const Piece& piece) { Solve(piece, on_doubt); });
  }

 private:
  // What lives at once in the stage that takes most.
  static int64_t Workspace(const Shape& shape, const FarParts& parts) {
    const int64_t n = shape.length;
    const bool grid = shape.bias->Table().grid_width > 0;
    int64_t floats = 0;
    if (!grid) {
      floats = NearFloats(n, shape.feature_dim, shape.value_dim, parts.floors, shape.threads) +
               n * (shape.value_dim + 3);
    }
    if (parts.transformed) {
      const int64_t points = std::max<int64_t>(1, shape.transform_size / (grid ? 4 : 2));
      const int64_t features = shape.feature_dim + shape.feature_dim % 2;
      const int64_t values = shape.value_dim + shape.value_dim % 2;
      // The copies of a transform's input on the way to its output, and rows of sums.
      const int64_t denominators =
          n * shape.value_dim + points * (16 * TransformsBetweenCheckpoints(points) + 8);
      // Values and sums; each thread's inputs, spectra and outputs.
      const int64_t numerators =
          points * (2 * values + shape.threads * (4 + 6 * TransformsAtATime(points)));
      floats = std::max(floats, 2 * features * points + std::max(denominators, numerators));
    }
    // Rows in doubt are computed directly.
    return std::max(floats * int64_t{sizeof(float)}, Direct().Predict(shape).workspace_bytes);
  }

  static void Solve(const Piece& piece, OnDoubt on_doubt) {
    const Problem& problem = *piece.part.problem;
    // The estimate is generous enough to leave room for the features' errors, not for rounding the
    // output to 16 bits.
    const bool rounded = problem.out.scalar_type() != at::kFloat;
    const double allowed = problem.tolerance / (rounded ? 2 : 1);
    std::vector<RowSet> repairs;
    for (const Sequence& sequence : piece.part.sequences) {
      if (sequence.length == 0) continue;
      const auto convolution = problem.bias->Convolve(sequence.length);
      for (int64_t head = 0; head < piece.values.size(0); ++head) {
        Solver solver(piece, sequence, head, *convolution);
        Checkpoint();
        const at::Tensor error = solver.Denominators();
        const at::Tensor doubtful = error.le(allowed).logical_not_();  // NaN is in doubt
        std::vector<int64_t> rows = Indices(doubtful);
        const bool worthwhile =
            !TooManyFftRepairs(static_cast<int64_t>(rows.size()), sequence.length);
        if (!worthwhile && on_doubt == OnDoubt::kRaise) {
          RefuseFft(static_cast<int64_t>(rows.size()), sequence.length,
                    piece.part.head_begin + head, rows.front(), error[rows.front()].item<float>(),
                    allowed);
        }
        if (worthwhile) {
          solver.Outputs();
          Checkpoint();
        } else {
          rows.resize(sequence.length);
          std::iota(rows.begin(), rows.end(), 0);
        }
        repairs.push_back({sequence, head, std::move(rows)});
      }
    }
    SolveDirectly(piece, std::move(repairs));
    piece.Store();
  }

  static std::vector<int64_t> Indices(const at::Tensor& mask) {
    const at::Tensor index = mask.nonzero().flatten().contiguous();
    const int64_t* const data = index.const_data_ptr<int64_t>();
    return {data, data + index.numel()};
  }
};

}  // namespace

const Algorithm& Fft() {
  static const FftAlgorithm algorithm;
  return algorithm;
}

}  // namespace longwave::attention
