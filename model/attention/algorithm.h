#ifndef LONGWAVE_MODEL_ATTENTION_ALGORITHM_H_
#define LONGWAVE_MODEL_ATTENTION_ALGORITHM_H_

#include <c10/core/DeviceType.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "model/attention/cost_table.h"
#include "model/attention/feature_range.h"
#include "model/attention/problem.h"

namespace longwave::attention {

// What an algorithm costs and how it errs depend on these, for one head and one sequence.
struct Shape {
  int64_t length = 0;       // tokens, at least 1
  int64_t dim = 0;          // of q and k
  int64_t feature_dim = 0;  // length of phi
  int64_t value_dim = 0;
  FeatureMap map = FeatureMap::kPrf;
  bool causal = false;
  int64_t transform_size = 0;  // points of the Fourier transform of such a sequence
  int threads = 1;             // of the CPU
  at::DeviceType device = at::kCPU;
  at::ScalarType dtype = at::kFloat;  // of q, k and v
  int64_t units = 1;  // heads times sequences of the call: another device runs them side by side

  const PositionBias* bias = nullptr;  // not owned
  int64_t head = 0;
  // Of prf features. On another device than the CPU it is a typical one, since reading the
  // projection would wait for the device: who relies on it checks there and repairs.
  FeatureRange range;
  double tolerance = 1e-5;  // error allowed, as a share of max|v|
  // What an algorithm that has several ways should keep to where one of them does; 0: no limit.
  int64_t workspace_limit = 0;

  const CostConstants* costs = &kCostTable;  // not owned
};

struct Estimate {
  double milliseconds = 0;  // for one head

  // Of the output as a share of max|v|, or where larger the tolerance it repairs to. For trf it
  // counts times sum |w| / |sum w| of a row, w its signed terms over keys and features. The rounding
  // of features and of an output in 16 bits (2^-9 of bfloat16, 2^-12 of float16) comes on top.
  double error_bound = 0;
  int64_t workspace_bytes = 0;  // beside features and output
  // What a call takes however many heads and sequences it computes; milliseconds has the share of
  // one of Shape::units.
  double call_milliseconds = 0;
};

// What to do with rows that an algorithm cannot compute to the tolerance.
enum class OnDoubt {
  kRepair,  // compute them in another way
  kRaise,   // throw c10::Error that says why
};

// One way to compute the attention on one kind of device. Stateless, thread-safe.
class Algorithm {
 public:
  virtual ~Algorithm() = default;

  // As the argument `algorithm` of the operators.
  virtual std::string_view name() const = 0;

  // Whether the planner may choose it: exact algorithms serve both feature maps, others only
  // non-negative features.
  virtual bool Serves(FeatureMap map) const = 0;

  // Why it cannot compute this shape to the tolerance, worded to follow its name ("finds no
  // structure"); nothing where it can, or where only the data can tell.
  virtual std::optional<std::string> WhyNot(const Shape&) const { return std::nullopt; }

  // Only for shapes with nothing against them.
  virtual Estimate Predict(const Shape& shape) const = 0;

  // Writes the part's rows of problem.out. On the CPU the part's sequences lie side by side in the
  // packed tensors; it blocks and uses the threads of at::parallel_for. On another device the work
  // is queued on its current stream, without waiting for it, so that a graph may capture it.
  virtual void Run(const Part& part, OnDoubt on_doubt) const = 0;
};

// Those of the CPU.
const Algorithm& Reference();
const Algorithm& Direct();
const Algorithm& Fft();
const Algorithm& Structured();
const Algorithm& LowRank();

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_ALGORITHM_H_
