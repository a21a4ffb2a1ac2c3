#include "model/attention/sequence_bias.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "model/attention/fft_convolution.h"
#include "model/attention/spectrum_cache.h"
#include "model/attention/structured/table_structures.h"
#include "model/attention/table_extent.h"

namespace longwave::attention {
namespace {

constexpr double kForbidden = -std::numeric_limits<double>::infinity();

class SequenceWeights final : public PairWeights {
 public:
  // table: 2L-1 values of one head, edge = L-1; must outlive this object.
  SequenceWeights(const float* table, int64_t edge, bool causal, int64_t length)
      : table_(table), edge_(edge), causal_(causal), length_(length) {
    // Row i reaches t in [-i, n-1-i]: a running maximum to the left of t = 0 and one to its right.
    std::vector<double> left(length), right(length);
    left[0] = right[0] = At(0);
    for (int64_t t = 1; t < length; ++t) {
      left[t] = std::max(left[t - 1], At(-t));
      right[t] = std::max(right[t - 1], At(t));
    }
    std::vector<double> row_max(length);
    for (int64_t i = 0; i < length; ++i) row_max[i] = std::max(left[i], right[length - 1 - i]);
    Finish(std::move(row_max));
  }

  void Log(int64_t i, double* row) const override {
    for (int64_t j = 0; j < length_; ++j) row[j] = At(j - i);
  }

  // Ordered by t from -(n-1) to n-1.
  WeightTable Table(double shift) const override {
    WeightTable table{shift, std::vector<float>(2 * length_ - 1),
                      std::vector<int32_t>(2 * length_)};
    for (int64_t p = 0; p < 2 * length_ - 1; ++p) {
      const int64_t t = p - (length_ - 1);
      // Beyond the table the weights repeat: one exponential serves them all.
      const bool repeats = p > 0 && (t > edge_ || t <= -edge_) && !(causal_ && t == 1);
      table.values[p] = repeats ? table.values[p - 1] : Weight(At(t), shift);
      table.nonzero[p + 1] = table.nonzero[p] + (table.values[p] != 0);
    }
    return table;
  }

  float Multiply(const WeightTable& table, int64_t i, int64_t begin, int64_t count,
                 float* scores) const override {
    return MultiplyAndSum(&table.values[begin - i + length_ - 1], count, scores);
  }

  bool AllZero(const WeightTable& table, int64_t first, int64_t last, int64_t begin,
               int64_t end) const override {
    return table.nonzero[begin - last + length_ - 1] == table.nonzero[end - first + length_ - 1];
  }

 private:
  double At(int64_t t) const {
    if (causal_ && t > 0) return kForbidden;
    return table_[std::clamp(t, -edge_, edge_) + edge_];
  }

  const float* const table_;
  const int64_t edge_;
  const bool causal_;
  const int64_t length_;
};

}  // namespace

std::unique_ptr<PairWeights> SequenceBias::Pairs(int64_t head, int64_t length) const {
  const at::Tensor& table = bias_.table();
  return std::make_unique<SequenceWeights>(table.const_data_ptr<float>() + head * table.size(1),
                                           bias_.length() - 1, causal(), length);
}

std::shared_ptr<const Convolution> SequenceBias::Convolve(int64_t length) const {
  return bias_.spectra().Get(length);
}

FarParts SequenceBias::PartsOf(int64_t head, int64_t length) const {
  return bias_.extent(head).PartsOf(bias_.spectra().Reach(length));
}

double SequenceBias::ShareOfTiles(int64_t head, int64_t length) const {
  return bias_.extent(head).ShareOfTiles(length);
}

const PreparedHead* SequenceBias::Structure(int64_t head, bool smooth) const {
  const TableStructures& structures = bias_.structures();
  return smooth ? structures.Smooth(head) : &structures.Exact(head);
}

int64_t SequenceBias::TransformSize(int64_t length) const { return TransformPoints({1, length}); }

}  // namespace longwave::attention
