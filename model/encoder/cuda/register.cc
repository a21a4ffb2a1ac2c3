// The encoder's kernels for CUDA tensors, registered when this library is loaded. Contracts are in
// model/encoder/operators.h.
#include <ATen/ops/empty.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include <optional>

#include "model/encoder/cuda/kernels.h"

namespace longwave::encoder::cuda {
namespace {

using OptionalTensor = std::optional<at::Tensor>;

Type TypeOf(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return Type::kFloat32;
    case at::kBFloat16:
      return Type::kBFloat16;
    case at::kHalf:
      return Type::kFloat16;
    default:
      TORCH_CHECK(false, "found dtype ", tensor.scalar_type(),
                  ", expected Float, BFloat16 or Half");
  }
}

const float* Floats(const OptionalTensor& tensor) {
  return tensor.has_value() ? tensor->const_data_ptr<float>() : nullptr;
}

void WriteNorm(const at::Tensor& x, const OptionalTensor& shift, const at::Tensor& weight,
               const at::Tensor& bias, double eps, at::Tensor& out) {
  const c10::cuda::CUDAGuard guard(x.device());
  C10_CUDA_CHECK(LaunchNorm(TypeOf(x), x.const_data_ptr(), Floats(shift),
                            weight.const_data_ptr<float>(), bias.const_data_ptr<float>(),
                            static_cast<float>(eps), x.size(0), x.size(1), out.mutable_data_ptr(),
                            c10::cuda::getCurrentCUDAStream()));
}

at::Tensor Norm(const at::Tensor& x, const OptionalTensor& shift, const at::Tensor& weight,
                const at::Tensor& bias, double eps) {
  at::Tensor out = at::empty(x.sizes(), x.options());
  WriteNorm(x, shift, weight, bias, eps, out);
  return out;
}

at::Tensor NormInPlace(at::Tensor x, const OptionalTensor& shift, const at::Tensor& weight,
                       const at::Tensor& bias, double eps) {
  WriteNorm(x, shift, weight, bias, eps, x);
  return x;
}

at::Tensor Embed(const at::Tensor& ids, const at::Tensor& offsets, const at::Tensor& table,
                 const OptionalTensor& positions) {
  const c10::cuda::CUDAGuard guard(ids.device());
  at::Tensor out = at::empty({ids.size(0), table.size(1)}, table.options());
  C10_CUDA_CHECK(
      LaunchEmbed(TypeOf(table), ids.const_data_ptr<int32_t>(), offsets.const_data_ptr<int32_t>(),
                  offsets.size(0) - 1, table.const_data_ptr(),
                  positions.has_value() ? positions->const_data_ptr() : nullptr, out.size(0),
                  out.size(1), out.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
  return out;
}

at::Tensor SpanMeans(const at::Tensor& hidden, const at::Tensor& spans, int64_t longest) {
  const c10::cuda::CUDAGuard guard(hidden.device());
  const int64_t rows = spans.size(0), width = hidden.size(1);
  const int64_t parts = (longest + kSpanTokens - 1) / kSpanTokens;
  const auto options = hidden.options().dtype(at::kFloat);
  at::Tensor means = at::empty({rows, width}, options);
  at::Tensor partial;
  if (parts > 1) partial = at::empty({rows, parts, width}, options);
  C10_CUDA_CHECK(
      LaunchSpanMeans(TypeOf(hidden), hidden.const_data_ptr(), spans.const_data_ptr<int64_t>(),
                      rows, parts, width, parts > 1 ? partial.mutable_data_ptr<float>() : nullptr,
                      means.mutable_data_ptr<float>(), c10::cuda::getCurrentCUDAStream()));
  return means;
}

TORCH_LIBRARY_IMPL(longwave, CUDA, m) {
  m.impl("encoder_norm", &Norm);
  m.impl("encoder_norm_", &NormInPlace);
  m.impl("encoder_embed", &Embed);
  m.impl("encoder_span_means", &SpanMeans);
}

}  // namespace
}  // namespace longwave::encoder::cuda
