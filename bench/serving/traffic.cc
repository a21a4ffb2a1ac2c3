#include "bench/serving/traffic.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace longwave::bench {
namespace {

absl::Status Expected(absl::string_view key, absl::string_view found, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(key, ": found \"", found, "\", expected ", expected));
}

absl::Status ParseCount(absl::string_view key, absl::string_view value, int* count) {
  if (absl::SimpleAtoi(value, count) && *count >= 1) return absl::OkStatus();
  return Expected(key, value, "a whole number of at least 1");
}

absl::Status ParseLength(absl::string_view value, TrafficClass& traffic) {
  const std::pair<absl::string_view, absl::string_view> ends =
      absl::StrSplit(value, absl::MaxSplits("..", 1));
  const absl::string_view last = absl::StrContains(value, "..") ? ends.second : ends.first;
  if (absl::SimpleAtoi(ends.first, &traffic.min_tokens) &&
      absl::SimpleAtoi(last, &traffic.max_tokens) && traffic.min_tokens >= 1 &&
      traffic.max_tokens >= traffic.min_tokens) {
    return absl::OkStatus();
  }
  return Expected("length", value, "a number of tokens, 512, or a range, 64..4096");
}

absl::Status ParseRpc(absl::string_view value, TrafficClass& traffic) {
  if (value == "encode") {
    traffic.rpc = LoadRpc::kEncode;
  } else if (value == "stream") {
    traffic.rpc = LoadRpc::kEncodeStream;
  } else if (value == "classify") {
    traffic.rpc = LoadRpc::kClassify;
  } else {
    return Expected("rpc", value, "encode, stream or classify");
  }
  return absl::OkStatus();
}

absl::Status ParseOption(absl::string_view key, absl::string_view value, TrafficClass& traffic) {
  if (key == "length") return ParseLength(value, traffic);
  if (key == "rpc") return ParseRpc(value, traffic);
  if (key == "concurrency") return ParseCount(key, value, &traffic.concurrency);
  if (key == "streams") return ParseCount(key, value, &traffic.streams);
  if (key == "inputs") return ParseCount(key, value, &traffic.inputs);
  if (key == "pool") return ParseCount(key, value, &traffic.pool);
  if (key == "rate") {
    if (absl::SimpleAtod(value, &traffic.rate) && traffic.rate > 0) return absl::OkStatus();
    return Expected(key, value, "requests per second");
  }
  if (key == "deadline") {
    if (absl::ParseDuration(value, &traffic.deadline) && traffic.deadline > absl::ZeroDuration()) {
      return absl::OkStatus();
    }
    return Expected(key, value, "a time such as 250ms");
  }
  if (key == "key") {
    traffic.key = std::string(value);
    return absl::OkStatus();
  }
  return Expected("traffic class", key,
                  "length, rate, concurrency, streams, deadline, rpc, inputs, pool or key");
}

}  // namespace

absl::StatusOr<TrafficClass> ParseTrafficClass(absl::string_view text) {
  TrafficClass traffic;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  traffic.name = std::string(parts.first);
  if (traffic.name.empty() || parts.second.empty()) {
    return Expected("traffic class", text, "NAME:KEY=VALUE,...");
  }
  for (const absl::string_view option : absl::StrSplit(parts.second, ',')) {
    const std::pair<absl::string_view, absl::string_view> pair =
        absl::StrSplit(option, absl::MaxSplits('=', 1));
    if (absl::Status status = ParseOption(pair.first, pair.second, traffic); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat(traffic.name, ": ", status.message()));
    }
  }
  const bool open = traffic.rate > 0;
  const bool closed = traffic.concurrency > 0;
  if (open == closed || (closed && traffic.streams > 0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        traffic.name, ": expected either concurrency, or rate with or without streams"));
  }
  return traffic;
}

std::vector<int64_t> DrawLengths(const TrafficClass& traffic, int count, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> log_length(
      std::log(static_cast<double>(traffic.min_tokens)),
      std::log(static_cast<double>(traffic.max_tokens) + 1));
  std::vector<int64_t> lengths(count);
  for (int64_t& length : lengths) {
    length = std::clamp(static_cast<int64_t>(std::exp(log_length(random))), traffic.min_tokens,
                        traffic.max_tokens);
  }
  return lengths;
}

Deck::Deck(size_t count, uint64_t seed) : random_(seed), cards_(count), next_(count) {
  std::iota(cards_.begin(), cards_.end(), size_t{0});
}

size_t Deck::Deal() {
  if (next_ == cards_.size()) {
    std::shuffle(cards_.begin(), cards_.end(), random_);
    next_ = 0;
  }
  return cards_[next_++];
}

}  // namespace longwave::bench
