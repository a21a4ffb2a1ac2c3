#include "model/encoder/operators.h"

#include <ATen/Functions.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/library.h>

namespace longwave::encoder {
namespace {

using OptionalTensor = std::optional<at::Tensor>;
using NormSignature = at::Tensor(const at::Tensor&, const OptionalTensor&, const at::Tensor&,
                                 const at::Tensor&, double);
using NormInPlaceSignature = at::Tensor(at::Tensor, const OptionalTensor&, const at::Tensor&,
                                        const at::Tensor&, double);
using EmbedSignature = at::Tensor(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                  const OptionalTensor&);
using SpanMeansSignature = at::Tensor(const at::Tensor&, const at::Tensor&, int64_t);

at::Tensor CpuNorm(const at::Tensor& x, const OptionalTensor& shift, const at::Tensor& weight,
                   const at::Tensor& bias, double eps) {
  // In float32 also for narrow types, as the kernel for GPUs does.
  const at::Tensor wide = x.to(at::kFloat);
  return at::layer_norm(shift.has_value() ? at::add(wide, *shift) : wide, {x.size(-1)}, weight,
                        bias, eps)
      .to(x.scalar_type());
}

at::Tensor CpuNormInPlace(at::Tensor x, const OptionalTensor& shift, const at::Tensor& weight,
                          const at::Tensor& bias, double eps) {
  return x.copy_(CpuNorm(x, shift, weight, bias, eps));
}

at::Tensor CpuEmbed(const at::Tensor& ids, const at::Tensor& offsets, const at::Tensor& table,
                    const OptionalTensor& positions) {
  at::Tensor x = at::embedding(table, ids);
  if (!positions.has_value()) return x;
  const int32_t* begins = offsets.const_data_ptr<int32_t>();
  for (int64_t s = 0; s + 1 < offsets.size(0); ++s) {
    const int64_t length = begins[s + 1] - begins[s];
    x.narrow(0, begins[s], length).add_(positions->narrow(0, 0, length));
  }
  return x;
}

at::Tensor CpuSpanMeans(const at::Tensor& hidden, const at::Tensor& spans, int64_t) {
  const int64_t rows = spans.size(0);
  const auto span = spans.accessor<int64_t, 2>();
  at::Tensor means = at::empty({rows, hidden.size(1)}, hidden.options().dtype(at::kFloat));
  for (int64_t row = 0; row < rows; ++row) {
    at::Tensor mean = means.select(0, row);
    if (span[row][1] == 1) {
      mean.copy_(hidden.select(0, span[row][0]));
    } else {
      at::mean_out(mean, hidden.narrow(0, span[row][0], span[row][1]), /*dim=*/0,
                   /*keepdim=*/false, at::kFloat);
    }
  }
  return means;
}

template <typename Signature>
auto Operator(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

}  // namespace

// The CUDA kernels are registered by model/encoder/cuda/register.cc.
TORCH_LIBRARY_FRAGMENT(longwave, m) {
  m.def("encoder_norm(Tensor x, Tensor? shift, Tensor weight, Tensor bias, float eps) -> Tensor");
  m.def(
      "encoder_norm_(Tensor(a!) x, Tensor? shift, Tensor weight, Tensor bias, float eps) "
      "-> Tensor(a!)");
  m.def("encoder_embed(Tensor ids, Tensor offsets, Tensor table, Tensor? positions) -> Tensor");
  m.def("encoder_span_means(Tensor hidden, Tensor spans, int longest) -> Tensor");
}

TORCH_LIBRARY_IMPL(longwave, CPU, m) {
  m.impl("encoder_norm", &CpuNorm);
  m.impl("encoder_norm_", &CpuNormInPlace);
  m.impl("encoder_embed", &CpuEmbed);
  m.impl("encoder_span_means", &CpuSpanMeans);
}

at::Tensor Norm(const at::Tensor& x, const OptionalTensor& shift, const at::Tensor& weight,
                const at::Tensor& bias, double eps) {
  static const auto op = Operator<NormSignature>("longwave::encoder_norm");
  return op.call(x, shift, weight, bias, eps);
}

void NormInPlace(at::Tensor& x, const OptionalTensor& shift, const at::Tensor& weight,
                 const at::Tensor& bias, double eps) {
  static const auto op = Operator<NormInPlaceSignature>("longwave::encoder_norm_");
  op.call(x, shift, weight, bias, eps);
}

at::Tensor Embed(const at::Tensor& ids, const at::Tensor& offsets, const at::Tensor& table,
                 const OptionalTensor& positions) {
  static const auto op = Operator<EmbedSignature>("longwave::encoder_embed");
  return op.call(ids, offsets, table, positions);
}

at::Tensor SpanMeans(const at::Tensor& hidden, const at::Tensor& spans, int64_t longest) {
  static const auto op = Operator<SpanMeansSignature>("longwave::encoder_span_means");
  return op.call(hidden, spans, longest);
}

}  // namespace longwave::encoder
