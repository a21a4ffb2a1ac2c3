#include "client/half.h"

#include <gtest/gtest.h>

#include <cmath>

namespace longwave::client {
namespace {

TEST(HalfTest, KnowsTheNumbersOfTheStandard) {
  EXPECT_EQ(Float16ToFloat(0x3c00), 1.0f);
  EXPECT_EQ(Float16ToFloat(0xc000), -2.0f);
  EXPECT_EQ(Float16ToFloat(0x7bff), 65504.0f);
  EXPECT_EQ(Float16ToFloat(0x0400), std::ldexp(1.0f, -14));
  EXPECT_EQ(Float16ToFloat(0x03ff), std::ldexp(1023.0f, -24));
  EXPECT_EQ(Float16ToFloat(0x0001), std::ldexp(1.0f, -24));
  EXPECT_EQ(Float16ToFloat(0x3555), 0.333251953125f);
  EXPECT_TRUE(std::signbit(Float16ToFloat(0x8000)));
  EXPECT_EQ(Float16ToFloat(0xfc00), -INFINITY);
  EXPECT_TRUE(std::isnan(Float16ToFloat(0x7e01)));
}

TEST(HalfTest, GrowsWithItsBits) {
  for (uint16_t bits = 0; bits < 0x7c00; ++bits) {
    ASSERT_LT(Float16ToFloat(bits), Float16ToFloat(bits + 1)) << bits;
    ASSERT_EQ(Float16ToFloat(bits | 0x8000), -Float16ToFloat(bits)) << bits;
  }
}

TEST(HalfTest, Bfloat16IsTheUpperHalfOfAFloat) {
  EXPECT_EQ(Bfloat16ToFloat(0x3f80), 1.0f);
  EXPECT_EQ(Bfloat16ToFloat(0xc049), -3.140625f);
  EXPECT_EQ(Bfloat16ToFloat(0x7f80), INFINITY);
  EXPECT_TRUE(std::isnan(Bfloat16ToFloat(0x7fc0)));
}

}  // namespace
}  // namespace longwave::client
