#ifndef LONGWAVE_MODEL_ENCODER_OPERATORS_H_
#define LONGWAVE_MODEL_ENCODER_OPERATORS_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>

// Steps of the encoder that have kernels of their own on a GPU. Each goes through LibTorch's
// dispatcher, so the kernels of the tensors' device answer; arguments are not checked. May throw
// c10::Error. Thread-safe. For .cc files only: it shows torch types.
//
// x, hidden: [tokens, E], contiguous, float32, bfloat16 or float16. Vectors that are added or
// multiplied are float32 [E]. All tensors of a call are on one device.
namespace longwave::encoder {

// LayerNorm(x + shift) * weight + bias in x's dtype, computed in float32. `shift` lets a bias that
// was never added to the residual stream count.
at::Tensor Norm(const at::Tensor& x, const std::optional<at::Tensor>& shift,
                const at::Tensor& weight, const at::Tensor& bias, double eps);

// The same, written over x.
void NormInPlace(at::Tensor& x, const std::optional<at::Tensor>& shift, const at::Tensor& weight,
                 const at::Tensor& bias, double eps);

// table[ids], plus positions[t - begin] for token t of a sequence that begins at `begin`.
// ids: int32 [tokens], each a row of `table` [vocabulary, E]. positions: [longest or more, E].
// offsets: int32 [sequences + 1], from 0 to tokens.
at::Tensor Embed(const at::Tensor& ids, const at::Tensor& offsets, const at::Tensor& table,
                 const std::optional<at::Tensor>& positions);

// Means over spans of tokens. spans: int64 [rows, 2], first token and number of tokens (1 or more)
// of each; longest: the largest number, or more. Returns float32 [rows, E]; a row depends on its
// own span alone, to the bit.
at::Tensor SpanMeans(const at::Tensor& hidden, const at::Tensor& spans, int64_t longest);

}  // namespace longwave::encoder

#endif  // LONGWAVE_MODEL_ENCODER_OPERATORS_H_
