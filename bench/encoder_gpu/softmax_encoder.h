#ifndef LONGWAVE_BENCH_ENCODER_GPU_SOFTMAX_ENCODER_H_
#define LONGWAVE_BENCH_ENCODER_GPU_SOFTMAX_ENCODER_H_

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "model/encoder/encoder.h"

namespace longwave::bench {

enum class SoftmaxKernel { kCudnn, kFlash };

// The peer: the same layers with LibTorch's softmax attention, without any relative bias. All
// sequences are of one length, the form that the peer's attention is fastest for. ids: int32
// [sequences * length] on the device. Returns [tokens, E].
at::Tensor SoftmaxForward(const Encoder& encoder, const at::Tensor& ids, int64_t sequences,
                          SoftmaxKernel kernel);

// The matrix products of all layers and nothing else, on activations that need not make sense:
// x [tokens, E].
void ProductsOnly(const Encoder& encoder, const at::Tensor& x);

}  // namespace longwave::bench

#endif  // LONGWAVE_BENCH_ENCODER_GPU_SOFTMAX_ENCODER_H_
