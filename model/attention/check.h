#ifndef LONGWAVE_MODEL_ATTENTION_CHECK_H_
#define LONGWAVE_MODEL_ATTENTION_CHECK_H_

#include <ATen/core/Tensor.h>
#include <c10/util/OptionalArrayRef.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>
#include <vector>

#include "model/attention/problem.h"

// Checks of the operators' arguments. Each throws c10::Error (ValueError in Python): the argument's
// name, what came, what was expected.
namespace longwave::attention {

class RelativeBias;

// "prf" or "trf".
FeatureMap ParseFeatureMap(std::string_view name);

// Finite scale, known feature map, no negative workspace.
void CheckOptions(std::string_view feature_map, double scale, int64_t workspace_bytes);

// That a call asks for what its RelativeBias was prepared for.
void CheckAgreement(const RelativeBias& bias, std::string_view feature_map, bool causal);

// What a bias may be prepared for: an error of 1e-5 or more and less than 1.
void CheckTolerance(double tolerance);

// A call's feature map: the one that its bias was prepared for.
void CheckFeatureMap(std::string_view feature_map, std::string_view prepared);

// rank 2: float32 [heads, 2L-1]; rank 3: float32 [heads, 2H-1, 2W-1]. Last dimension contiguous,
// not requiring grad under grad mode. Reads no data.
void CheckBiasShape(const at::Tensor& bias, int64_t rank);

// The same and: on the CPU, no NaN or +inf, finite at distance 0.
void CheckBiasTable(const at::Tensor& bias, int64_t rank);

// The table on the CPU: a copy where it lies on q's device, which waits for that device.
at::Tensor TableOnHost(const at::Tensor& bias, const at::Tensor& q);

// [height, width] of 0 or more that make the n tokens of q [batch, n, ...].
void CheckGrid(const at::Tensor& q, at::IntArrayRef grid);

// The most tokens of a sequence: offsets are int32.
inline constexpr int64_t kMaxTokens = std::numeric_limits<int32_t>::max();

// The most tokens of a grid: a table of all its distances has four times as many weights a head.
inline constexpr int64_t kMaxGridTokens = int64_t{1} << 24;

// Lengths of 0 to kMaxTokens tokens.
void CheckLengths(at::IntArrayRef seqlens);

// Shape, dtype, layout and grad of a projection for q of so many heads and this head size.
// features: rows that it should have; 0: any number but 0.
void CheckProjection(const at::Tensor& projection, int64_t heads, int64_t head_dim,
                     int64_t features = 0);

// Shapes, dtypes, devices, layouts and grad of q, k, v, projection. rank: 4 for batched tensors, 3
// for packed ones. bias_heads: what the bias has.
void CheckTensors(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                  const at::Tensor& projection, int64_t rank, int64_t bias_heads);

// The sequences of a call: `batch` equal ones of q's [batch, n, ...], or those of cu_seqlens (and
// seqlens, when given, which must say the same; on another device than the CPU their values are not
// compared) of q's [tokens, ...].
std::vector<Sequence> CheckSequences(const at::Tensor& q,
                                     const std::optional<at::Tensor>& cu_seqlens,
                                     at::OptionalIntArrayRef seqlens);

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_CHECK_H_
