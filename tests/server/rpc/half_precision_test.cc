#include "server/rpc/half_precision.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <random>

namespace longwave {
namespace {

// The value of binary16 bits, exactly, straight from the definition.
double FromFloat16(uint16_t bits) {
  const double sign = (bits & 0x8000) ? -1 : 1;
  const int exponent = (bits >> 10) & 0x1f;
  const int mantissa = bits & 0x3ff;
  if (exponent == 0x1f) {
    return mantissa ? std::nan("") : sign * std::numeric_limits<double>::infinity();
  }
  return exponent == 0 ? sign * std::ldexp(mantissa, -24)
                       : sign * std::ldexp(1024 + mantissa, exponent - 25);
}

double FromBfloat16(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

TEST(HalfPrecisionTest, EveryFloat16SurvivesTheRoundTrip) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const double value = FromFloat16(static_cast<uint16_t>(bits));
    if (std::isnan(value)) continue;
    ASSERT_EQ(ToFloat16Bits(static_cast<float>(value)), bits);
  }
}

TEST(HalfPrecisionTest, Float16TiesGoToEven) {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {  // up to the largest but one
    const double low = FromFloat16(static_cast<uint16_t>(bits));
    const double high = FromFloat16(static_cast<uint16_t>(bits + 1));
    const float middle = static_cast<float>((low + high) / 2);  // exact: one more bit
    const uint16_t even = static_cast<uint16_t>(bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(ToFloat16Bits(middle), even) << bits;
    ASSERT_EQ(ToFloat16Bits(-middle), even | 0x8000) << bits;
    ASSERT_EQ(ToFloat16Bits(std::nextafter(middle, 0.0f)), bits) << bits;
    ASSERT_EQ(ToFloat16Bits(std::nextafter(middle, 1e9f)), bits + 1) << bits;
  }
}

TEST(HalfPrecisionTest, Float16Limits) {
  EXPECT_EQ(ToFloat16Bits(65504.0f), 0x7bff);
  EXPECT_EQ(ToFloat16Bits(65519.996f), 0x7bff);
  EXPECT_EQ(ToFloat16Bits(65520.0f), 0x7c00);
  EXPECT_EQ(ToFloat16Bits(-1e30f), 0xfc00);
  EXPECT_EQ(ToFloat16Bits(std::numeric_limits<float>::infinity()), 0x7c00);
  EXPECT_EQ(ToFloat16Bits(1e-30f), 0x0000);
  EXPECT_EQ(ToFloat16Bits(-0.0f), 0x8000);
  EXPECT_TRUE(std::isnan(FromFloat16(ToFloat16Bits(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(HalfPrecisionTest, Bfloat16TiesGoToEven) {
  for (uint32_t bits = 0; bits < 0x7f80; ++bits) {
    const float middle = std::bit_cast<float>((bits << 16) | 0x8000u);
    const uint16_t even = static_cast<uint16_t>(bits % 2 == 0 ? bits : bits + 1);
    ASSERT_EQ(ToBfloat16Bits(middle), even);
    ASSERT_EQ(ToBfloat16Bits(-middle), even | 0x8000);
    ASSERT_EQ(ToBfloat16Bits(std::bit_cast<float>((bits << 16) | 0x7fffu)), bits);
    ASSERT_EQ(ToBfloat16Bits(std::bit_cast<float>((bits << 16) | 0x8001u)), bits + 1);
  }
}

TEST(HalfPrecisionTest, Bfloat16Limits) {
  EXPECT_EQ(ToBfloat16Bits(std::numeric_limits<float>::infinity()), 0x7f80);
  EXPECT_EQ(ToBfloat16Bits(std::numeric_limits<float>::max()), 0x7f80);
  EXPECT_EQ(ToBfloat16Bits(-0.0f), 0x8000);
  // A NaN whose payload is in the lower half only must not become an infinity.
  EXPECT_TRUE(std::isnan(FromBfloat16(ToBfloat16Bits(std::bit_cast<float>(0x7f800001u)))));
}

TEST(HalfPrecisionTest, RandomValuesAreWithinHalfAUnit) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0, 3);
  for (int i = 0; i < 100000; ++i) {
    const float value = normal(random);
    EXPECT_NEAR(FromFloat16(ToFloat16Bits(value)), value,
                std::max(std::abs(value) * 0x1p-11, 0x1p-25));
    EXPECT_NEAR(FromBfloat16(ToBfloat16Bits(value)), value, std::abs(value) * 0x1p-8);
  }
}

}  // namespace
}  // namespace longwave
