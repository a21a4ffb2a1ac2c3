#ifndef LONGWAVE_MODEL_ATTENTION_PROBLEM_H_
#define LONGWAVE_MODEL_ATTENTION_PROBLEM_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "model/attention/position_bias.h"

namespace longwave::attention {

enum class FeatureMap { kPrf, kTrf };

struct FeatureOptions {
  FeatureMap map = FeatureMap::kPrf;
  bool normalize = true;
  double scale = 1.0;
};

// Consecutive tokens of a packed batch that attend to each other.
struct Sequence {
  int64_t begin = 0;
  int64_t length = 0;
};

// One call of an operator, its arguments checked: batched and packed tensors, 1-D and 2-D look the
// same here.
struct Problem {
  at::Tensor q, k;        // [tokens, heads, head_dim]
  at::Tensor v;           // [tokens, heads, value_dim]
  at::Tensor projection;  // float32 [1 or heads, features, head_dim]
  at::Tensor out;         // [tokens, heads, value_dim], written by an algorithm
  std::vector<Sequence> sequences;
  at::Tensor cu_seqlens;  // int32 [sequences + 1] on the tensors' device; undefined: equal lengths
  FeatureOptions features;
  const PositionBias* bias = nullptr;  // not owned
  double tolerance = 1e-5;             // error allowed, as a share of max|v|
  int64_t workspace_bytes = 0;         // what a head's algorithm may take; 0: no limit

  int64_t heads() const { return q.size(1); }
  // Length of phi(x): features for prf, twice as many for trf.
  int64_t feature_dim() const {
    return projection.size(1) * (features.map == FeatureMap::kTrf ? 2 : 1);
  }
};

// The part of a problem that is solved at a time: some sequences, a range of heads.
struct Part {
  const Problem* problem = nullptr;
  std::vector<Sequence> sequences;  // CPU only
  int64_t head_begin = 0;
  int64_t head_end = 0;
  // Other devices solve all the problem's sequences of these lengths, both ends included.
  int64_t min_length = 0;
  int64_t max_length = std::numeric_limits<int64_t>::max();
};

}  // namespace longwave::attention

#endif  // LONGWAVE_MODEL_ATTENTION_PROBLEM_H_
