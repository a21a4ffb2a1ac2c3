#include "model/attention/check.h"

#include <ATen/ops/isnan.h>
#include <c10/core/GradMode.h>

#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "model/attention/relative_bias.h"

namespace longwave::attention {
namespace {

void CheckNoGrad(const char* name, const at::Tensor& tensor) {
  TORCH_CHECK_VALUE(
      !(tensor.requires_grad() && c10::GradMode::is_enabled()), name,
      ": found a tensor that requires grad, expected none under grad mode "
      "(this operator is for inference: use torch.no_grad, or longwave_torch's modules)");
}

void CheckLayout(const char* name, const at::Tensor& tensor) {
  TORCH_CHECK_VALUE(tensor.layout() == at::kStrided, name, ": found layout ", tensor.layout(),
                    ", expected Strided");
  TORCH_CHECK_VALUE(tensor.size(-1) <= 1 || tensor.stride(-1) == 1, name,
                    ": found a last dimension of stride ", tensor.stride(-1),
                    ", expected a contiguous one (stride 1)");
}

void CheckDevice(const char* name, const at::Tensor& tensor, const at::Tensor& q) {
  TORCH_CHECK_VALUE(tensor.device() == q.device(), name, ": found device ", tensor.device(),
                    ", expected q's ", q.device());
}

// The offsets as a list; they are data, so one copy from a device.
std::vector<int64_t> Offsets(const at::Tensor& cu_seqlens, int64_t tokens) {
  const at::Tensor host = cu_seqlens.to(at::kCPU, at::kLong).contiguous();
  const int64_t* data = host.const_data_ptr<int64_t>();
  const std::vector<int64_t> offsets(data, data + host.numel());
  TORCH_CHECK_VALUE(offsets.front() == 0, "cu_seqlens: found ", offsets.front(),
                    " in element 0, expected 0");
  for (size_t s = 1; s < offsets.size(); ++s) {
    TORCH_CHECK_VALUE(offsets[s] >= offsets[s - 1], "cu_seqlens: found ", offsets[s], " after ",
                      offsets[s - 1], " in element ", s, ", expected no smaller number");
  }
  TORCH_CHECK_VALUE(offsets.back() == tokens, "cu_seqlens: found ", offsets.back(),
                    " in the last element, expected q's ", tokens, " tokens");
  return offsets;
}

}  // namespace

FeatureMap ParseFeatureMap(std::string_view name) {
  if (name == "prf") return FeatureMap::kPrf;
  TORCH_CHECK_VALUE(name == "trf", "feature_map: found \"", name,
                    "\", expected \"prf\" or \"trf\"");
  return FeatureMap::kTrf;
}

void CheckOptions(std::string_view feature_map, double scale, int64_t workspace_bytes) {
  ParseFeatureMap(feature_map);
  TORCH_CHECK_VALUE(std::isfinite(scale), "scale: found ", scale, ", expected a finite number");
  TORCH_CHECK_VALUE(workspace_bytes >= 0, "workspace_bytes: found ", workspace_bytes,
                    ", expected 0 (no limit) or more");
}

void CheckAgreement(const RelativeBias& bias, std::string_view feature_map, bool causal) {
  CheckFeatureMap(feature_map, bias.feature_map());
  TORCH_CHECK_VALUE(causal == bias.causal(), "causal: found ", causal ? "true" : "false",
                    ", expected ", bias.causal() ? "true" : "false",
                    " as the bias was prepared for");
}

void CheckTolerance(double tolerance) {
  TORCH_CHECK_VALUE(tolerance >= 1e-5 && tolerance < 1, "tolerance: found ", tolerance,
                    ", expected 1e-5 or more and less than 1");
}

void CheckFeatureMap(std::string_view feature_map, std::string_view prepared) {
  TORCH_CHECK_VALUE(feature_map == prepared, "feature_map: found \"", feature_map,
                    "\", expected \"", prepared, "\" as the bias was prepared for");
}

void CheckBiasShape(const at::Tensor& bias, int64_t rank) {
  const char* const shape = rank == 2 ? "[heads, 2L-1]" : "[heads, 2H-1, 2W-1]";
  TORCH_CHECK_VALUE(bias.dim() == rank, "bias: found shape ", bias.sizes(), ", expected ", shape);
  for (int64_t i = 1; i < rank; ++i) {
    TORCH_CHECK_VALUE(bias.size(i) % 2 == 1, "bias: found shape ", bias.sizes(), ", expected ",
                      shape, ", an odd number of distances");
  }
  TORCH_CHECK_TYPE(bias.scalar_type() == at::kFloat, "bias: found dtype ", bias.scalar_type(),
                   ", expected Float");
  CheckLayout("bias", bias);
  CheckNoGrad("bias", bias);
}

void CheckBiasTable(const at::Tensor& bias, int64_t rank) {
  CheckBiasShape(bias, rank);
  TORCH_CHECK_VALUE(bias.device().is_cpu(), "bias: found device ", bias.device(), ", expected cpu");
  TORCH_CHECK_VALUE(!bias.isnan().any().item<bool>(), "bias: found NaN, expected numbers or -inf");
  TORCH_CHECK_VALUE(!bias.eq(std::numeric_limits<float>::infinity()).any().item<bool>(),
                    "bias: found +inf, expected numbers or -inf");
  at::Tensor center = bias;
  for (int64_t i = 1; i < rank; ++i) center = center.select(1, center.size(1) / 2);
  TORCH_CHECK_VALUE(!center.eq(-std::numeric_limits<float>::infinity()).any().item<bool>(),
                    "bias: found -inf at distance 0, expected a number there");
}

at::Tensor TableOnHost(const at::Tensor& bias, const at::Tensor& q) {
  return !q.is_cpu() && bias.device() == q.device() ? bias.to(at::kCPU) : bias;
}

void CheckGrid(const at::Tensor& q, at::IntArrayRef grid) {
  int64_t tokens = 0;
  const bool overflows = __builtin_mul_overflow(grid[0], grid[1], &tokens);
  TORCH_CHECK_VALUE(grid[0] >= 0 && grid[1] >= 0 && !overflows && tokens == q.size(1),
                    "grid: found ", grid[0], " x ", grid[1], ", expected height x width of q's ",
                    q.size(1), " tokens");
}

void CheckLengths(at::IntArrayRef seqlens) {
  for (size_t s = 0; s < seqlens.size(); ++s) {
    TORCH_CHECK_VALUE(seqlens[s] >= 0 && seqlens[s] <= kMaxTokens, "seqlens: found ", seqlens[s],
                      " in element ", s, ", expected 0 to ", kMaxTokens);
  }
}

void CheckProjection(const at::Tensor& projection, int64_t heads, int64_t head_dim,
                     int64_t features) {
  const std::string rows = features == 0 ? "features" : std::to_string(features);
  TORCH_CHECK_VALUE(
      (projection.dim() == 2 || (projection.dim() == 3 && projection.size(0) == heads)) &&
          projection.size(-1) == head_dim && projection.size(-2) >= 1 &&
          (features == 0 || projection.size(-2) == features),
      "projection: found shape ", projection.sizes(), ", expected [", rows, ", ", head_dim,
      "] or [", heads, ", ", rows, ", ", head_dim, "]");
  TORCH_CHECK_TYPE(projection.scalar_type() == at::kFloat, "projection: found dtype ",
                   projection.scalar_type(), ", expected Float");
  CheckLayout("projection", projection);
  CheckNoGrad("projection", projection);
}

void CheckTensors(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const at::Tensor& projection, int64_t rank, int64_t bias_heads) {
  const char* const shape = rank == 4 ? "[batch, n, heads, head_dim]"
                                      : "[tokens, heads, head_dim] (packed, by cu_seqlens)";
  TORCH_CHECK_VALUE(q.dim() == rank, "q: found shape ", q.sizes(), ", expected ", shape);
  const at::IntArrayRef leading = q.sizes().slice(0, rank - 1);
  const int64_t heads = q.size(-2), dim = q.size(-1);
  TORCH_CHECK_VALUE(k.sizes() == q.sizes(), "k: found shape ", k.sizes(), ", expected q's ",
                    q.sizes());
  TORCH_CHECK_VALUE(v.dim() == rank && v.sizes().slice(0, rank - 1) == leading, "v: found shape ",
                    v.sizes(), ", expected q's ", leading, " and a head size");
  TORCH_CHECK_VALUE(dim >= 1, "q: found head size 0, expected 1 or more");
  const at::ScalarType dtype = q.scalar_type();
  TORCH_CHECK_TYPE(
      dtype == at::kFloat || dtype == at::kBFloat16 || dtype == at::kHalf || dtype == at::kDouble,
      "q: found dtype ", dtype, ", expected Float, BFloat16, Half or Double");
  TORCH_CHECK_TYPE(k.scalar_type() == dtype, "k: found dtype ", k.scalar_type(), ", expected q's ",
                   dtype);
  TORCH_CHECK_TYPE(v.scalar_type() == dtype, "v: found dtype ", v.scalar_type(), ", expected q's ",
                   dtype);

  CheckProjection(projection, heads, dim);
  CheckDevice("projection", projection, q);
  TORCH_CHECK_VALUE(bias_heads == heads, "bias: found ", bias_heads, " heads, expected q's ",
                    heads);

  const std::pair<const char*, const at::Tensor*> tensors[] = {{"q", &q}, {"k", &k}, {"v", &v}};
  for (const auto& [name, tensor] : tensors) {
    CheckDevice(name, *tensor, q);
    CheckLayout(name, *tensor);
    CheckNoGrad(name, *tensor);
  }
}

std::vector<Sequence> CheckSequences(const at::Tensor& q,
                                     const std::optional<at::Tensor>& cu_seqlens,
                                     at::OptionalIntArrayRef seqlens) {
  std::vector<Sequence> sequences;
  if (!cu_seqlens.has_value()) {
    TORCH_CHECK_VALUE(!seqlens.has_value(),
                      "seqlens: found lengths, expected none without cu_seqlens");
    for (int64_t b = 0; b < q.size(0); ++b) sequences.push_back({b * q.size(1), q.size(1)});
    return sequences;
  }
  TORCH_CHECK_VALUE(cu_seqlens->dim() == 1 && cu_seqlens->numel() >= 1, "cu_seqlens: found shape ",
                    cu_seqlens->sizes(), ", expected [sequences + 1]");
  TORCH_CHECK_TYPE(cu_seqlens->scalar_type() == at::kInt, "cu_seqlens: found dtype ",
                   cu_seqlens->scalar_type(), ", expected Int");
  CheckDevice("cu_seqlens", *cu_seqlens, q);
  if (q.is_meta()) return sequences;

  if (!q.is_cpu() && seqlens.has_value()) {  // reading the offsets would wait for the device
    CheckLengths(*seqlens);
    int64_t begin = 0;
    for (const int64_t length : *seqlens) {
      sequences.push_back({begin, length});
      begin += length;
    }
    TORCH_CHECK_VALUE(begin == q.size(0), "seqlens: found ", begin, " tokens in all, expected q's ",
                      q.size(0));
    TORCH_CHECK_VALUE(static_cast<int64_t>(sequences.size()) + 1 == cu_seqlens->numel(),
                      "seqlens: found ", sequences.size(), " lengths, expected ",
                      cu_seqlens->numel() - 1, " as in cu_seqlens");
    return sequences;
  }
  const std::vector<int64_t> offsets = Offsets(*cu_seqlens, q.size(0));
  for (size_t s = 1; s < offsets.size(); ++s) {
    sequences.push_back({offsets[s - 1], offsets[s] - offsets[s - 1]});
  }
  if (seqlens.has_value()) {
    TORCH_CHECK_VALUE(seqlens->size() == sequences.size(), "seqlens: found ", seqlens->size(),
                      " lengths, expected ", sequences.size(), " as in cu_seqlens");
    for (size_t s = 0; s < sequences.size(); ++s) {
      TORCH_CHECK_VALUE((*seqlens)[s] == sequences[s].length, "seqlens: found ", (*seqlens)[s],
                        " in element ", s, ", expected ", sequences[s].length, " as in cu_seqlens");
    }
  }
  return sequences;
}

}  // namespace longwave::attention
