#ifndef LONGWAVE_MODEL_ATTENTION_CUDA_ATTENTION_ARGS_H_
#define LONGWAVE_MODEL_ATTENTION_CUDA_ATTENTION_ARGS_H_

#include <cstdint>

// What every kernel is told about a call, in plain types: .cu files see no LibTorch header.
// problem_args.h makes it of a Part.
namespace longwave::attention::cuda {

enum class DType { kFloat, kBFloat16, kHalf, kDouble };

// [tokens, heads, channels] on the device, channels contiguous; strides in elements.
struct TokenView {
  void* data = nullptr;  // of head 0
  int64_t token_stride = 0;
  int64_t head_stride = 0;
};

// Where the sequences lie in the packed tokens.
struct SequenceView {
  const int32_t* cu_seqlens =
      nullptr;  // on the device, [count + 1]; null: `count` of `length` each
  int32_t count = 0;
  int32_t length = 0;      // the longest one, as the host knows it
  int32_t min_length = 0;  // sequences of other lengths are not this launch's
  int32_t max_length = 0;
  int64_t tokens = 0;  // of all sequences
};

// Raw b on the device: float32 [heads, rows, columns], rows = 2H-1, columns = 2W-1.
struct BiasView {
  const float* data = nullptr;
  int32_t rows = 1;
  int32_t columns = 1;
  int32_t grid_width = 0;  // token i lies at (i / grid_width, i % grid_width); 0: at (0, i)
  bool causal = false;     // keys after the query are forbidden
};

struct AttentionArgs {
  TokenView q, k, v, out;  // all of one dtype
  DType dtype = DType::kFloat;
  const float* projection = nullptr;   // float32 [features, dim]
  int64_t projection_row_stride = 0;   // in elements
  int64_t projection_head_stride = 0;  // 0: shared by the heads
  int32_t head_begin = 0, head_end = 0;
  int32_t dim = 0, features = 0, value_dim = 0;  // features: rows of W, for both maps
  bool trigonometric = false;                    // trf instead of prf
  bool normalize = true;
  double scale = 1;  // float32 kernels round it; the exact one does not
  SequenceView sequences;
  BiasView bias;
};

}  // namespace longwave::attention::cuda

#endif  // LONGWAVE_MODEL_ATTENTION_CUDA_ATTENTION_ARGS_H_
