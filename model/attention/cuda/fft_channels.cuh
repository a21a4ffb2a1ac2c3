#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_FFT_CHANNELS_CUH_
#define LONGWAVE_MODEL_ATTENTION_CUDA_FFT_CHANNELS_CUH_

#include <cmath>

#include "model/attention/cuda/fft_args.h"

namespace longwave::attention::cuda {

// What a channel of values is divided by, so that the two that travel together have one size: its
// largest; 1 where that has no reciprocal. 0: a channel of zeros.
__device__ inline float ChannelScale(const FftArgs& args, int local_head, int channel) {
  const float largest = __int_as_float(args.largest[local_head * 2 * args.pairs + channel]);
  return largest == 0 || 1 / largest < INFINITY ? largest : 1;
}

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_FFT_CHANNELS_CUH_
