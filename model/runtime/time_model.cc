#include "model/runtime/time_model.h"

#include <algorithm>
#include <cmath>
#include <iterator>

namespace longwave {
namespace {

double LinearMilliseconds(const ModelConfig& config, double flop_per_millisecond) {
  const auto width = static_cast<double>(config.hidden_size);
  const auto inner = static_cast<double>(config.intermediate_size);
  const double flop = 2 * width * (4 * width + 2 * inner);
  return flop * static_cast<double>(config.num_hidden_layers) / flop_per_millisecond;
}

}  // namespace

TimeModel::TimeModel(const ModelConfig& config, double flop_per_millisecond,
                     std::vector<std::pair<int64_t, double>> attention_ms)
    : attention_ms_(std::move(attention_ms)),
      linear_ms_per_token_(LinearMilliseconds(config, flop_per_millisecond)) {}

double TimeModel::Milliseconds(int64_t tokens) const {
  return linear_ms_per_token_ * static_cast<double>(tokens) + AttentionMilliseconds(tokens);
}

double TimeModel::AttentionMilliseconds(int64_t tokens) const {
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

std::vector<int64_t> TimeModelLengths(int64_t max_length) {
  std::vector<int64_t> lengths;
  for (int64_t length = 64; length < max_length; length *= 2) lengths.push_back(length);
  lengths.push_back(max_length);
  return lengths;
}

}  // namespace longwave
