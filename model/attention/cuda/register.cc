// What loading the library does: the operators get their CUDA kernels, the planner its algorithms.
#include <torch/library.h>

#include "model/attention/cuda/algorithms.h"
#include "model/attention/kernels.h"
#include "model/attention/planner.h"

namespace longwave::attention::cuda {
namespace {

const bool kRegistered = [] {
  RegisterAlgorithms(at::kCUDA, {&Structured(), &LowRank(), &Direct(), &Fft(), &Reference()});
  return true;
}();

}  // namespace

TORCH_LIBRARY_IMPL(longwave, CUDA, m) {
  m.impl("rpe_attention.prepared", &native::RpeAttentionPrepared);
  m.impl("rpe_attention", &native::RpeAttention);
  m.impl("rpe_attention_2d.prepared", &native::RpeAttention2dPrepared);
  m.impl("rpe_attention_2d", &native::RpeAttention2d);
}

}  // namespace longwave::attention::cuda
