#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_TILES_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_TILES_H_

#include <cuda_runtime_api.h>

#include <cstdint>

#include "model/attention/cuda/attention_args.h"
#include "model/attention/cuda/exact_rows.h"

// The operands of the direct algorithm as its tiles read them: phi(q), phi(k) and v in bfloat16,
// written once per call, each sequence at the beginning of a tile and followed by zeros up to the
// tile's end, so that the quadratic part knows neither strides nor dtypes nor sequence ends.
namespace longwave::attention::cuda {

// Rows of a key tile; sequences begin at multiples of it.
constexpr int kTileRows = 128;

// Columns of a panel: 128 bytes, the width that wgmma and ldmatrix read without bank conflicts when
// the 16-byte chunks of row r are stored in the order chunk ^ (r % 8).
constexpr int kPanelColumns = 64;
constexpr int kPanelRowBytes = 2 * kPanelColumns;

// phi and v may be this wide.
constexpr int kMaxColumns = 2 * kPanelColumns;

// An operand: bfloat16 [parts][heads][panels][rows][kPanelColumns], swizzled. A number is the sum
// of its parts: 1 for bfloat16 inputs (as precise as they are), 2 for float16, 3 for float32.
struct TileOperand {
  char* data = nullptr;
  int32_t panels = 1;
};

// Rows lie in padded order: sequence s begins at row PaddedBegin(cu_seqlens[s], s, kTileRows).
struct DirectOperands {
  TileOperand q, k, v;
  int64_t rows = 0;  // of one head and panel, a multiple of kTileRows
  int32_t heads = 0;
  int32_t parts = 1;
  // Where inputs are not normalised: the largest log phi(k) of every feature over a sequence, as
  // ordered integers [heads, sequences, kMaxColumns].
  int32_t* key_maxima = nullptr;
};

// b's running maxima over distances [-i, 0] and [0, i]: float32 [heads of the table, length];
// beyond `length` the last one holds.
struct RunningMaxima {
  const float* left = nullptr;
  const float* right = nullptr;
  int32_t length = 0;
};

struct DirectArgs {
  AttentionArgs attention;
  DirectOperands operands;
  RunningMaxima maxima;
  int32_t tensor_heads = 0;  // heads of q, for numbering rows

  // A block takes 64 rows per group; 2 or 3 of them.
  int32_t row_groups = 2;

  // Partial sums where the keys are split over blocks: float32 [splits, heads, rows, value panels *
  // 64] and [splits, heads, rows].
  int32_t splits = 1;
  float* sums = nullptr;
  float* denominators = nullptr;

  // Rows whose denominator leaves float32's range are appended here.
  int32_t* doubtful_count = nullptr;
  int64_t* doubtful_rows = nullptr;
};

// Writes the operands.
cudaError_t LaunchDirectOperands(const DirectArgs& args, cudaStream_t stream);

// The quadratic part for tables of distances in a row, by the instructions of sm_90a; whether the
// current device and the library have them.
bool HasDirectHopper();
cudaError_t LaunchDirectHopper(const DirectArgs& args, cudaStream_t stream);

// The same on any device from sm_80 on, for tables of a grid, too. Does not split the keys.
cudaError_t LaunchDirectMma(const DirectArgs& args, cudaStream_t stream);

// Adds up what the splits of the keys found and writes the output.
cudaError_t LaunchDirectCombine(const DirectArgs& args, cudaStream_t stream);

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_DIRECT_TILES_H_
