#include "tests/support/safetensors_writer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/match.h"

namespace longwave::testing {
namespace {

// Rounds to nearest even by adding half of what is cut off; finite values only.
uint16_t ToBFloat16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Rounds to nearest even in float64; magnitudes up to 65504.
uint16_t ToFloat16(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(static_cast<double>(value));
  int exponent = magnitude == 0 ? -14 : std::max(std::ilogb(magnitude), -14);
  auto mantissa = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  if (mantissa == 2048) {
    mantissa = 1024;
    ++exponent;
  }
  // A mantissa below 1024 is a subnormal number: its exponent field is 0.
  const int biased = mantissa < 1024 ? 0 : exponent + 15;
  return static_cast<uint16_t>(sign | (biased << 10) | (mantissa & 1023));
}

float FromFloat16(uint16_t bits) {
  const int biased = (bits >> 10) & 31;
  const int mantissa = (bits & 1023) | (biased == 0 ? 0 : 1024);
  const auto magnitude = static_cast<float>(std::ldexp(mantissa, std::max(biased, 1) - 25));
  return (bits & 0x8000) != 0 ? -magnitude : magnitude;
}

template <typename T>
void Append(std::string& data, T value) {
  data.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void AppendAs(TensorType type, float value, std::string& data) {
  switch (type) {
    case TensorType::kFloat16:
      return Append(data, ToFloat16(value));
    case TensorType::kBFloat16:
      return Append(data, ToBFloat16(value));
    default:
      return Append(data, value);
  }
}

const char* TypeName(TensorType type) {
  switch (type) {
    case TensorType::kFloat16:
      return "F16";
    case TensorType::kBFloat16:
      return "BF16";
    default:
      return "F32";
  }
}

bool IsAlwaysFloat32(const std::string& name) {
  return absl::EndsWith(name, ".projection") || absl::EndsWith(name, ".relative_bias");
}

}  // namespace

float RoundTo(TensorType type, float value) {
  switch (type) {
    case TensorType::kFloat16:
      return FromFloat16(ToFloat16(value));
    case TensorType::kBFloat16:
      return std::bit_cast<float>(static_cast<uint32_t>(ToBFloat16(value)) << 16);
    default:
      return value;
  }
}

std::string RawSafetensors(const std::string& header, const std::string& data) {
  std::string file;
  Append(file, static_cast<uint64_t>(header.size()));
  return file + header + data;
}

std::string SerializeSafetensors(const WeightMap& weights, TensorType type) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  // The wide elements first: then every tensor is aligned to its element size.
  for (const bool wide : {true, false}) {
    for (const auto& [name, tensor] : weights) {
      const TensorType stored = IsAlwaysFloat32(name) ? TensorType::kFloat32 : type;
      if ((stored == TensorType::kFloat32) != wide) continue;
      const size_t begin = data.size();
      for (const float value : tensor.values) AppendAs(stored, value, data);
      header[name] = {{"dtype", TypeName(stored)},
                      {"shape", tensor.shape},
                      {"data_offsets", {begin, data.size()}}};
    }
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  return RawSafetensors(text, data);
}

}  // namespace longwave::testing
