#ifndef LONGWAVE_MODEL_ATTENTION_POSITION_BIAS_H_
#define LONGWAVE_MODEL_ATTENTION_POSITION_BIAS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace longwave::attention {

class Convolution;
class DeviceCache;
struct PreparedGrid;
class PreparedHead;

// exp(b - shift) by distance, in whatever order the PairWeights that made it wants.
struct WeightTable {
  double shift = 0;
  std::vector<float> values;
  std::vector<int32_t> nonzero;  // nonzero[p] = how many of values[0, p) are not 0; may be empty
};

// The weights exp(b) between the n tokens of one sequence, for one head. Thread-safe once made.
class PairWeights {
 public:
  virtual ~PairWeights() = default;

  int64_t length() const { return static_cast<int64_t>(row_max_.size()); }

  // The largest b that row i can reach; finite.
  double RowMax(int64_t i) const { return row_max_[i]; }

  // What to subtract from b in row i: RowMax(i) plus 0 to 10, chosen so that most rows share one
  // value. The largest weight of a row is then e^-10 to 1: float32 never overflows and loses only
  // what is negligible in that row.
  double Shift(int64_t i) const;

  // Writes b of row i for keys [0, n), -inf where forbidden.
  virtual void Log(int64_t i, double* row) const = 0;

  // The table of a shift that Shift() returned. Valid for the rows with that shift.
  virtual WeightTable Table(double shift) const = 0;

  // The table of the most common shift, made once.
  const WeightTable& shared_table() const { return shared_; }

  // scores[c] *= weight(i, begin + c) for c in [0, count); returns the sum of the products.
  virtual float Multiply(const WeightTable& table, int64_t i, int64_t begin, int64_t count,
                         float* scores) const = 0;

  // Whether all weights between rows [first, last] and keys [begin, end) are surely 0. May say no
  // when they are.
  virtual bool AllZero(const WeightTable& table, int64_t first, int64_t last, int64_t begin,
                       int64_t end) const = 0;

 protected:
  // Called by the constructors of derived classes.
  void Finish(std::vector<double> row_max);

 private:
  std::vector<double> row_max_;
  double top_ = 0;  // the largest of row_max_
  WeightTable shared_;
};

// Raw b as the operators take it. Token i lies at (i / grid_width, i % grid_width); beyond the
// table its edges hold.
struct BiasTable {
  at::Tensor values;  // float32 [heads, 2H-1, 2W-1] on the CPU, contiguous; H = 1 for sequences
  int64_t grid_width = 0;  // 0: one row of any length
};

// What "fft" finds in one head's table beside its near band and single large weights (fft_split.h).
struct FarParts {
  bool floors = false;      // a constant on either side
  bool transformed = true;  // a remainder that needs transforms
};

// A bias over all heads, for tokens in a row or in a grid. Thread-safe.
class PositionBias {
 public:
  virtual ~PositionBias() = default;

  // The weights of one head in a sequence of `length` >= 1 tokens.
  virtual std::unique_ptr<PairWeights> Pairs(int64_t head, int64_t length) const = 0;

  // The convolution with exp(b), for the algorithm "fft".
  virtual std::shared_ptr<const Convolution> Convolve(int64_t length) const = 0;

  // Points of the transforms that Convolve(length) would use, over all their parts.
  virtual int64_t TransformSize(int64_t length) const = 0;

  // What Convolve(length) would find in a head's table. Of a grid all is transformed.
  virtual FarParts PartsOf(int64_t /*head*/, int64_t /*length*/) const { return {}; }

  // The share, from 0 to 1, of the tiles of "direct" that hold a weight other than 0.
  virtual double ShareOfTiles(int64_t /*head*/, int64_t /*length*/) const { return 1; }

  virtual bool causal() const = 0;

  // The raw table, for kernels of other devices.
  virtual BiasTable Table() const = 0;

  // What those kernels keep of it.
  virtual DeviceCache& device_cache() const = 0;

  // The table of one head cut into pieces of linear cost, exactly or with a smooth far field;
  // nullptr where there is none.
  virtual const PreparedHead* Structure(int64_t head, bool smooth) const = 0;

  // The same of a grid's table.
  virtual const PreparedGrid* Grid(int64_t /*head*/) const { return nullptr; }
};

// exp(b - shift) in float32, 0 instead of a denormal number: those are slow and count for nothing.
float Weight(double b, double shift);

// Multiplies `count` scores by weights element by element and returns the sum of the products.
float MultiplyAndSum(const float* weights, int64_t count, float* scores);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_POSITION_BIAS_H_
