#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_ALGORITHMS_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_ALGORITHMS_H_

#include "model/attention/algorithm.h"

// The algorithms of CUDA devices; register.cc makes them known to the planner.
namespace longwave::attention::cuda {

// Float32 features with larger exponents (FeatureRange) err by more than is promised.
inline constexpr double kMaxFloatExponent = 30;

const Algorithm& Reference();
const Algorithm& Direct();
const Algorithm& Fft();
const Algorithm& Structured();
const Algorithm& LowRank();

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_ALGORITHMS_H_
