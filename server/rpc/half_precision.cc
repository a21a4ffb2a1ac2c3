#include "server/rpc/half_precision.h"

#include <bit>

namespace longwave {
namespace {

constexpr uint32_t kSignMask = 0x80000000u;
constexpr uint32_t kInfinity = 0x7f800000u;

// Drops the lowest `bits` of `value`, rounding to nearest, ties to even. A carry runs into the
// exponent, as it should.
uint32_t RoundShift(uint32_t value, int bits) {
  const uint32_t half = 1u << (bits - 1);
  const uint32_t odd = (value >> bits) & 1u;
  return (value + half - 1 + odd) >> bits;
}

}  // namespace

uint16_t ToFloat16Bits(float value) {
  constexpr uint32_t kSmallestNormal = 0x38800000u;  // 2^-14
  constexpr uint32_t kTooSmall =
      0x33000000u;  // 2^-25: half of the smallest subnormal, ties to zero
  constexpr uint32_t kTooLarge = 0x477ff000u;  // 65520: rounds to infinity
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits & kSignMask) >> 16;
  const uint32_t magnitude = bits & ~kSignMask;
  if (magnitude > kInfinity) return static_cast<uint16_t>(sign | 0x7e00u);
  if (magnitude >= kTooLarge) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude <= kTooSmall) return static_cast<uint16_t>(sign);
  if (magnitude < kSmallestNormal) {
    // A subnormal counts units of 2^-24: shift the mantissa, with its hidden bit, to that unit.
    const int exponent = static_cast<int>(magnitude >> 23);
    const uint32_t mantissa = (magnitude & 0x007fffffu) | 0x00800000u;
    return static_cast<uint16_t>(sign | RoundShift(mantissa, 126 - exponent));
  }
  const uint32_t rebased = magnitude - ((127u - 15u) << 23);
  return static_cast<uint16_t>(sign | RoundShift(rebased, 13));
}

uint16_t ToBfloat16Bits(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & ~kSignMask) > kInfinity) return static_cast<uint16_t>((bits >> 16) | 0x0040u);
  return static_cast<uint16_t>(RoundShift(bits, 16));
}

}  // namespace longwave
