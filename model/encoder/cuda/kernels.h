#ifndef LONGWAVE_MODEL_ENCODER_CUDA_KERNELS_H_
#define LONGWAVE_MODEL_ENCODER_CUDA_KERNELS_H_

#include <cuda_runtime_api.h>

#include <cstdint>

// Launches of the encoder's kernels; their contracts are in model/encoder/operators.h. Pointers are
// to the device's memory, all matrices contiguous. Nothing waits; the caller checks the returned
// error.
namespace longwave::encoder::cuda {

enum class Type { kFloat32, kBFloat16, kFloat16 };

// out may be x. shift may be null.
cudaError_t LaunchNorm(Type type, const void* x, const float* shift, const float* weight,
                       const float* bias, float eps, int64_t tokens, int64_t width, void* out,
                       cudaStream_t stream);

// positions may be null.
cudaError_t LaunchEmbed(Type type, const int32_t* ids, const int32_t* offsets, int64_t sequences,
                        const void* table, const void* positions, int64_t tokens, int64_t width,
                        void* out, cudaStream_t stream);

// Tokens that one block adds up; sums of more are built from such partial sums, in order.
inline constexpr int64_t kSpanTokens = 256;

// partial: float32 [rows, parts, width] with parts = ceil(longest / kSpanTokens); unused where
// parts is 1, and may then be null.
cudaError_t LaunchSpanMeans(Type type, const void* hidden, const int64_t* spans, int64_t rows,
                            int64_t parts, int64_t width, float* partial, float* means,
                            cudaStream_t stream);

}  // namespace longwave::encoder::cuda

#endif  // LONGWAVE_MODEL_ENCODER_CUDA_KERNELS_H_
