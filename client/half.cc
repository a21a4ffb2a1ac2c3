#include "client/half.h"

#include <bit>
#include <cmath>
#include <limits>

namespace longwave::client {

float Float16ToFloat(uint16_t bits) {
  const float sign = (bits & 0x8000) != 0 ? -1.0f : 1.0f;
  const int exponent = (bits >> 10) & 0x1f;
  const int fraction = bits & 0x3ff;
  if (exponent == 0x1f) {
    return fraction == 0 ? sign * std::numeric_limits<float>::infinity()
                         : std::numeric_limits<float>::quiet_NaN();
  }
  // Subnormals have no hidden one and the exponent of the smallest normal number.
  const float significand = static_cast<float>(exponent == 0 ? fraction : fraction + 0x400);
  return sign * std::ldexp(significand, (exponent == 0 ? 1 : exponent) - 25);
}

float Bfloat16ToFloat(uint16_t bits) { return std::bit_cast<float>(uint32_t{bits} << 16); }

}  // namespace longwave::client
