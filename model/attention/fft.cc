#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/core/LegacyTypeDispatch.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/complex.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/view_as_complex.h>
#include <ATen/ops/view_as_real.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/attention/algorithm.h"
#include "model/attention/checkpoint.h"
#include "model/attention/direct.h"
#include "model/attention/piece.h"

// The attention as convolutions by the fast Fourier transform (Luo et al., section 4): sum_j c[j-i]
// phi_r(k_j) v_je for every feature r and value channel e, then the sum over r of phi_r(q_i) times
// it; the denominators likewise without v.
//
// A transform errs relative to its whole input, not to each row: rows with small denominators drown
// in it. So the denominators come first, with an estimate of their error, and rows where it is too
// large are not computed here.
namespace longwave::attention {
namespace {

// Transforms of one step of a thread: so many bytes of input, beside as many of output and
// temporaries; they stay near the core.
constexpr int64_t kStepBytes = int64_t{1} << 20;

// If a larger share of the rows has to be repaired, computing all of them directly is no slower.
constexpr double kWorthwhile = 0.75;

// [channels, n] to [channels + channels % 2, n]: channels travel in pairs.
at::Tensor PadToEven(const at::Tensor& x) {
  if (x.size(0) % 2 == 0) return x;
  return at::cat({x, at::zeros({1, x.size(1)}, x.options())}, 0);
}

// [2 pairs, n] to [pairs, n, 2], as real and imaginary parts.
at::Tensor Pair(const at::Tensor& x) {
  return x.view({x.size(0) / 2, 2, x.size(1)}).transpose(1, 2).contiguous();
}

// One sequence and head.
class Solver {
 public:
  Solver(const Piece& piece, const Sequence& sequence, int64_t head, const Convolution& convolution)
      : convolution_(convolution),
        head_(piece.part.head_begin + head),
        signed_(piece.part.problem->features.map == FeatureMap::kTrf) {
    const int64_t begin = piece.Offset(sequence);
    const auto part = [&](const at::Tensor& x) {
      return x[head].narrow(0, begin, sequence.length);
    };
    queries_ = PadToEven(part(piece.phi.q).t()).contiguous();
    keys_ = PadToEven(part(piece.phi.k).t()).contiguous();
    values_ = part(piece.values);
    out_ = part(piece.out);
  }

  // The denominators, and for every row the error of the output to expect, as a share of max|v|:
  // float32 [n].
  at::Tensor Denominators() {
    at::Tensor energy;
    const at::Tensor x = at::view_as_complex(Pair(keys_));
    const at::Tensor y = convolution_.Apply(head_, x, &energy);
    if (signed_) convolution_.Apply(head_, at::view_as_complex(Pair(keys_.abs())), &energy);
    const at::Tensor queries = Pair(queries_);
    denominators_ = (at::view_as_real(y) * queries).sum(at::IntArrayRef({0, 2}));

    // Rounding in the two transforms is white: about eps |c| |x| / sqrt(N) an element from the
    // forward one, eps |y| / sqrt(N) from the inverse one. Numerators err no more, as their
    // channels are no larger; so the quotient errs twice. The largest errors measured are a fifth
    // of this estimate, the eps below being that of a rounding times sqrt(log2 N).
    const double eps = std::ldexp(1.0, -24) * std::sqrt(std::log2(convolution_.size()));
    const at::Tensor norms = at::view_as_real(x).square().sum(at::IntArrayRef({1, 2})).sqrt();
    const at::Tensor noise = (norms * convolution_.WeightNorm(head_) + energy.sqrt()) *
                             (eps / std::sqrt(static_cast<double>(convolution_.size())));
    const at::Tensor row_noise =
        (queries.square().sum(2) * noise.square().unsqueeze(1)).sum(0).sqrt();
    return row_noise * 2 / denominators_.abs();
  }

  // Writes the rows of the output.
  void Outputs() {
    // Channels that travel together are brought to one size; one of zeros stays exactly zero.
    const at::Tensor largest = std::get<0>(values_.abs().max(0));
    const at::Tensor divisors = largest.masked_fill(largest.eq(0), 1);
    const at::Tensor values = Pair(PadToEven((values_ / divisors).t()));

    const int64_t pairs = values.size(0), n = values.size(1), features = keys_.size(0);
    const int64_t feature_step = std::max<int64_t>(1, kStepBytes / (convolution_.size() * 8));
    const at::Tensor keys = keys_.contiguous(), queries = queries_.contiguous();
    at::Tensor sums = at::empty({pairs, n, 2}, at::kFloat);
    // A thread keeps to its pair of value channels: its transforms stay in its cache, nothing is
    // shared.
    const int64_t step = HasCheckpoint() ? at::get_num_threads() : pairs;
    for (int64_t first = 0; first < pairs; first += step) {
      at::parallel_for(first, std::min(first + step, pairs), 1, [&](int64_t begin, int64_t end) {
        const at::AutoDispatchBelowADInplaceOrView guard;
        for (int64_t p = begin; p < end; ++p) {
          at::Tensor sum = at::zeros({n, 2}, at::kFloat);
          for (int64_t f = 0; f < features; f += feature_step) {
            const int64_t stop = std::min(f + feature_step, features);
            const at::Tensor x = at::view_as_complex(
                (values[p] * keys.slice(0, f, stop).unsqueeze(2)).contiguous());
            const at::Tensor y = at::view_as_real(convolution_.Apply(head_, x, nullptr));
            for (int64_t r = f; r < stop; ++r) sum.addcmul_(y[r - f], queries[r].unsqueeze(1));
          }
          std::copy_n(sum.const_data_ptr<float>(), 2 * n,
                      sums.mutable_data_ptr<float>() + p * 2 * n);
        }
      });
      Checkpoint();
    }
    const at::Tensor numerators =
        sums.transpose(1, 2).reshape({2 * pairs, n}).narrow(0, 0, values_.size(1)).t();
    out_.copy_(numerators * largest / denominators_.unsqueeze(1));
  }

 private:
  const Convolution& convolution_;
  const int64_t head_;
  const bool signed_;
  at::Tensor queries_, keys_;  // [features, padded to even; n]
  at::Tensor values_, out_;    // [n, value_dim]
  at::Tensor denominators_;    // [n]
};

class FftAlgorithm final : public Algorithm {
 public:
  std::string_view name() const override { return "fft"; }

  bool Serves(FeatureMap map) const override { return map == FeatureMap::kPrf; }

  Estimate Predict(const Shape& shape) const override {
    // Measured on an EPYC core: 5 GFLOP/s, the work around the transforms included.
    const double size = static_cast<double>(shape.transform_size);
    const double channels = static_cast<double>((shape.feature_dim + 1) / 2 +
                                                shape.feature_dim * ((shape.value_dim + 1) / 2));
    const double ms = 0.5 + channels * 10 * size * std::log2(size) / 5e6 / shape.threads;
    return {ms, 1e-5, 4 * std::max(kStepBytes, shape.transform_size * 8)};
  }

  void Run(const Part& part, OnDoubt on_doubt) const override {
    ForEachPiece(part, [&](const Piece& piece) { Solve(piece, on_doubt); });
  }

 private:
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
        const at::Tensor error = solver.Denominators();
        const at::Tensor doubtful = error.le(allowed).logical_not_();  // NaN is in doubt
        std::vector<int64_t> rows = Indices(doubtful);
        if (!rows.empty() && on_doubt == OnDoubt::kRaise) {
          Refuse(sequence, piece.part.head_begin + head, rows, error, allowed);
        }
        const bool worthwhile = static_cast<double>(rows.size()) <=
                                (1 - kWorthwhile) * static_cast<double>(sequence.length);
        if (worthwhile) {
          solver.Outputs();
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

  [[noreturn]] static void Refuse(const Sequence& sequence, int64_t head,
                                  const std::vector<int64_t>& rows, const at::Tensor& error,
                                  double allowed) {
    TORCH_CHECK_VALUE(
        false, "algorithm: \"fft\" would miss the promised accuracy in ", rows.size(), " of ",
        sequence.length, " rows of head ", head, " (row ", rows.front(), " expects an error of ",
        error[rows.front()].item<float>(), " of max|v|, ", allowed,
        " is allowed): their denominators are small beside the transform's rounding errors. "
        "Expected algorithm \"auto\" or \"direct\" for this table");
  }
};

}  // namespace

const Algorithm& Fft() {
  static const FftAlgorithm algorithm;
  return algorithm;
}

}  // namespace longwave::attention
