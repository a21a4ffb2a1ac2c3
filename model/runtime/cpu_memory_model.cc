#include "model/runtime/cpu_memory_model.h"

#include <algorithm>

namespace longwave {
namespace {

// Tokens that the encoder takes through its widest activation at a time.
constexpr int64_t kChunkTokens = 1024;

// Memory that the attention takes for many heads at a time, unless one head of one sequence needs
// more.
constexpr int64_t kPieceBytes = int64_t{96} << 20;

// Of one head and token, in each way to compute the attention.
struct Workspace {
  // Features of queries and keys, values and sums, and two states for each chunk of 64 tokens. Each
  // thread has a head.
  int64_t structured_floats;
  // Features, their panels, temporaries, values, sums. All threads work on one head.
  int64_t piece_floats;

  explicit Workspace(const ModelConfig& config) {
    const int64_t features =
        config.attention.num_features * (config.attention.feature_map == FeatureMap::kTrf ? 2 : 1);
    const int64_t values = config.head_dim();
    structured_floats = 2 * features + 2 * values + 2 * features * (values + 1) / 64 + 1;
    piece_floats = 5 * features + 3 * values;
  }
};

int64_t LongestBytes(const ModelConfig& config, int threads) {
  const Workspace workspace(config);
  const int64_t heads = std::min<int64_t>(threads, config.num_attention_heads);
  return std::max(workspace.structured_floats * heads, workspace.piece_floats) *
         static_cast<int64_t>(sizeof(float));
}

}  // namespace

CpuMemoryModel::CpuMemoryModel(const ModelConfig& config, int threads)
    :  // The activations; q, k and v; the attention's output; the token's id.
      bytes_per_token_(5 * config.hidden_size * static_cast<int64_t>(sizeof(float)) +
                       static_cast<int64_t>(sizeof(int32_t))),
      bytes_per_longest_token_(LongestBytes(config, threads)),
      piece_bytes_per_token_(Workspace(config).piece_floats * config.num_attention_heads *
                             static_cast<int64_t>(sizeof(float))),
      fixed_bytes_(kChunkTokens * (config.intermediate_size + 2 * config.hidden_size) *
                   static_cast<int64_t>(sizeof(float))) {}

int64_t CpuMemoryModel::Bytes(const BatchShape& shape) const {
  return fixed_bytes_ + shape.tokens * bytes_per_token_ + shape.longest * bytes_per_longest_token_ +
         std::min(kPieceBytes, shape.tokens * piece_bytes_per_token_);
}

}  // namespace longwave
