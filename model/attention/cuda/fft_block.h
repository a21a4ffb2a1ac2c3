#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_FFT_BLOCK_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_FFT_BLOCK_H_

namespace longwave::attention::cuda {

// Smallest and largest transform that a block of threads computes, powers of two. The table of
// roots of unity has as many entries as the largest: exp(-2 pi i k / 4096).
constexpr int kMinBlockPoints = 32;
constexpr int kMaxBlockPoints = 4096;

// The largest transform of all.
constexpr int kMaxFftPoints = 1 << 22;

// Rows of a transform of `size` points (2^10 to kMaxFftPoints): as many as columns or half of it,
// but not more than lets a block take whole sectors of several rows.
constexpr int FftRows(long size) {
  int rows = kMinBlockPoints;
  while (rows < 512 && 4L * rows * rows <= size) rows *= 2;
  return size / rows <= kMaxBlockPoints ? rows : 2 * rows;
}

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_FFT_BLOCK_H_
