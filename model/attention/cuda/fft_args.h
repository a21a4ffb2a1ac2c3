#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_FFT_ARGS_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_FFT_ARGS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/attention/cuda/attention_args.h"

// What the kernels of "fft" work on: one sequence and some heads, everything by channels, [channel,
// `capacity`] with zeros behind the sequence, so that neighbouring threads read neighbouring
// tokens.
namespace longwave::attention::cuda {

// The table's pieces that are not transformed, as in fft_split.h: tiles of 64 tokens, two on either
// side of a query's own.
inline constexpr int kFftChunk = 64;
inline constexpr int kFftNearChunks = 2;
inline constexpr int kFftNearWeights = 2 * (kFftNearChunks + 1) * kFftChunk - 1;
inline constexpr int kFftMostDiagonals = 32;

struct FftDiagonal {
  int32_t distance = 0;
  float weight = 0;
};

// One head's pieces.
struct FftNear {
  float weights[kFftNearWeights];  // of distances from -(kFftNearWeights / 2) up
  float left_floor, right_floor;   // of the chunks beyond
  // The nearest distances on either side that are transformed; farther than any: none.
  int32_t left_nearest, right_nearest;
  int32_t diagonal_count;
  FftDiagonal diagonals[kFftMostDiagonals];
};

struct FftArgs {
  AttentionArgs attention;
  int32_t tensor_heads = 0;  // heads of q, for numbering rows
  int32_t sequence = 0;
  int32_t heads = 0;     // of this launch, from attention.head_begin
  int32_t capacity = 0;  // tokens of a channel: rows * columns / 2 where those are set
  int32_t features = 0;  // length of phi, padded to an even number with zeros
  int32_t pairs = 0;     // of values, an odd last one with zeros

  // The transform: N = rows * columns points, as FftRows() cuts it.
  int32_t rows = 0, columns = 0;
  const float2* spectrum = nullptr;  // [table heads, rows, columns]: frequency k at (k % rows, k /
                                     // rows), over N
  const float2* roots = nullptr;     // [kMaxBlockPoints]: exp(-2 pi i k / kMaxBlockPoints)
  const float* weight_norms = nullptr;  // [table heads]: L2 norm of what is transformed; null: 1
  const FftNear* near = nullptr;        // [table heads]

  // Operands. Values are scaled to at most 1 by channel.
  float* phi_q = nullptr;         // [heads, features, capacity]
  float* phi_k = nullptr;         // the same
  float2* values = nullptr;       // [heads, pairs, capacity]
  int32_t* largest = nullptr;     // [heads, 2 pairs]: max|v|, the bits of a float
  int32_t* key_maxima = nullptr;  // [heads, features]: where exponents may be large, the largest
                                  // log phi(k), as ordered integers; else null

  // Sums. denominators: x the sum; y the square of the error to expect over that of
  // weight_norms, later the error as a share of max|v|.
  float2* numerators = nullptr;    // [heads, pairs, capacity]
  float2* denominators = nullptr;  // [heads, capacity]

  // Work areas.
  float* states = nullptr;      // [heads, chunks, FftStateSize()]
  float* state_sums = nullptr;  // the same
  float2* channels = nullptr;   // [units, channels of the step, rows, columns]
  // In units of weight_norms: [heads, features / 2, FftRowBlocks()], and [heads, features / 2], the
  // error of a channel's convolution.
  float* energies = nullptr;
  float* noise = nullptr;

  // Rows in doubt: those whose error may be larger than allowed. A head with more than
  // most_doubtful of them lists none.
  float allowed = 0;
  int32_t most_doubtful = 0;
  int32_t* head_doubtful = nullptr;   // [heads]: how many
  int32_t* first_doubtful = nullptr;  // [heads]
  int32_t* doubtful_count = nullptr;  // of the list
  int64_t* doubtful_rows = nullptr;
};

// Floats of the state of a chunk: a row of values per feature, then the sums of phi.
__host__ __device__ inline int FftStateColumns(const FftArgs& args) {
  return (2 * args.pairs + 3) / 4 * 4;
}
__host__ __device__ inline int FftStateSize(const FftArgs& args) {
  return args.features * (FftStateColumns(args) + 1);
}

// Largest |log phi| for which exponents are formed in float32; twice as large is still right.
inline constexpr double kFftSmallExponent = 12;

// phi, values and their scales. wide: exponents in float64, key_maxima taken off. Else a feature
// that float32 cannot hold well is NaN, and puts all that it touches in doubt.
cudaError_t LaunchFftOperands(const FftArgs& args, bool wide, cudaStream_t stream);

// Shared memory that it takes of a block.
int64_t FftOperandsBytes(int64_t dim, int64_t features, bool wide);

// Everything but the transforms: writes numerators and denominators. floors: whether any head has
// one; needs the states.
cudaError_t LaunchFftNear(const FftArgs& args, bool floors, cudaStream_t stream);

// Counts the rows in doubt; lists them; writes the output.
cudaError_t LaunchFftJudge(const FftArgs& args, cudaStream_t stream);
cudaError_t LaunchFftList(const FftArgs& args, cudaStream_t stream);
cudaError_t LaunchFftStore(const FftArgs& args, cudaStream_t stream);

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_FFT_ARGS_H_
