#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_FFT_PASSES_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_FFT_PASSES_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/attention/cuda/fft_args.h"

// The convolutions of the attention by the fast Fourier transform, in three passes over a channel
// phi_a(k) v_e (two values e at a time, as real and imaginary part: c is real):
//   1. columns: phi_a(k) v on load, transforms of `rows` points at stride `columns`, stored;
//   2. rows: transforms of `columns` points, times the spectrum of c, and back, in place;
//   3. columns: back, and on the way out times phi_a(q), added up over a in a fixed order.
// A channel crosses device memory four times; the n x m x d expansion is only ever the channels in
// flight. The denominators are channels without v, two features at a time.
namespace longwave::attention::cuda {

// Some units (pairs of values, numbered head * pairs + pair; of the denominators: heads) and some
// of their channels: features, of the denominators pairs of features.
struct FftStep {
  int32_t unit_begin = 0, units = 0;
  int32_t channel_begin = 0, channels = 0;
  bool denominators = false;
};

// Blocks of the first and third pass for one unit, and of the second.
int FftBlocks(const FftArgs& args);
int FftRowBlocks(const FftArgs& args);

// Adds the transformed part to numerators or denominators, in the rows that it gives a key.
cudaError_t LaunchFftPasses(const FftArgs& args, const FftStep& step, cudaStream_t stream);

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_FFT_PASSES_H_
