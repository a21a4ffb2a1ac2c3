#include "model/runtime/cost_model.h"

#include <algorithm>
#include <cmath>

namespace longwave {
namespace {

// One core with AVX-512 in matrix products of float32.
constexpr double kFlopPerMillisecond = 80e6;

// Tokens that the encoder takes through its widest activation at a time.
constexpr int64_t kChunkTokens = 1024;

double LinearMilliseconds(const ModelConfig& config, int threads) {
  const auto width = static_cast<double>(config.hidden_size);
  const auto inner = static_cast<double>(config.intermediate_size);
  const double flop = 2 * width * (4 * width + 2 * inner);
  return flop * static_cast<double>(config.num_hidden_layers) / kFlopPerMillisecond / threads;
}

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
    const int64_t features = config.attention.num_features *
                             (config.attention.feature_map == FeatureMap::kTrf ? 2 : 1);
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

CostModel::CostModel(const ModelConfig& config, int threads,
                     std::vector<std::pair<int64_t, double>> attention_ms)
    : attention_ms_(std::move(attention_ms)),
      linear_ms_per_token_(LinearMilliseconds(config, threads)),
      // The activations; q, k and v; the attention's output; the token's id.
      bytes_per_token_(5 * config.hidden_size * static_cast<int64_t>(sizeof(float)) +
                       static_cast<int64_t>(sizeof(int32_t))),
      bytes_per_longest_token_(LongestBytes(config, threads)),
      piece_bytes_per_token_(Workspace(config).piece_floats * config.num_attention_heads *
                             static_cast<int64_t>(sizeof(float))),
      fixed_bytes_(kChunkTokens * (config.intermediate_size + 2 * config.hidden_size) *
                   static_cast<int64_t>(sizeof(float))) {}

int64_t CostModel::Bytes(const BatchShape& shape) const {
  return fixed_bytes_ + shape.tokens * bytes_per_token_ +
         shape.longest * bytes_per_longest_token_ +
         std::min(kPieceBytes, shape.tokens * piece_bytes_per_token_);
}

double CostModel::Milliseconds(int64_t tokens) const {
  return linear_ms_per_token_ * static_cast<double>(tokens) + AttentionMilliseconds(tokens);
}

double CostModel::AttentionMilliseconds(int64_t tokens) const {
  const auto upper =
      std::lower_bound(attention_ms_.begin(), attention_ms_.end(), tokens,
                       [](const auto& entry, int64_t length) { return entry.first < length; });
  const auto proportional = [tokens](const std::pair<int64_t, double>& entry) {
    return entry.second * static_cast<double>(tokens) / static_cast<double>(entry.first);
  };
  if (upper == attention_ms_.begin()) return proportional(*upper);
  const auto lower = std::prev(upper);
  if (upper == attention_ms_.end()) return proportional(*lower);
  const double from = std::log(static_cast<double>(lower->first));
  const double to = std::log(static_cast<double>(upper->first));
  const double share = (std::log(static_cast<double>(tokens)) - from) / (to - from);
  constexpr double kTiny = 1e-9;
  return std::exp((1 - share) * std::log(lower->second + kTiny) +
                  share * std::log(upper->second + kTiny));
}

std::vector<int64_t> CostModelLengths(int64_t max_length) {
  std::vector<int64_t> lengths;
  for (int64_t length = 64; length < max_length; length *= 2) lengths.push_back(length);
  lengths.push_back(max_length);
  return lengths;
}

}  // namespace longwave
