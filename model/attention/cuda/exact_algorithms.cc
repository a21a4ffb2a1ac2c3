// "reference": every dtype, head size and table by the float64 rows of exact_rows.h.
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "model/attention/cuda/algorithms.h"
#include "model/attention/cuda/exact_rows.h"
#include "model/attention/cuda/problem_args.h"

namespace longwave::attention::cuda {
namespace {

class ExactAlgorithm final : public Algorithm {
 public:
  explicit ExactAlgorithm(std::string_view name) : name_(name) {}

  std::string_view name() const override { return name_; }

  bool Serves(FeatureMap) const override { return true; }

  Estimate Predict(const Shape& shape) const override {
    const double n = static_cast<double>(shape.length);
    const double flop = 2 * n * n * static_cast<double>(shape.feature_dim * shape.dim);
    return {flop / kFlopPerMillisecond, 1e-12, 0};
  }

  void Run(const Part& part, OnDoubt) const override {
    const c10::cuda::CUDAGuard guard(part.problem->q.device());
    C10_CUDA_CHECK(LaunchExactRows(MakeArgs(part), static_cast<int>(part.problem->heads()), nullptr,
                                   c10::cuda::getCurrentCUDAStream()));
  }

 private:
  static constexpr double kFlopPerMillisecond = 2e9;

  const std::string_view name_;
};

}  // namespace

const Algorithm& Reference() {
  static const ExactAlgorithm algorithm("reference");
  return algorithm;
}

}  // namespace longwave::attention::cuda
