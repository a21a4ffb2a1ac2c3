#include "model/attention/fft_size.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

namespace longwave::attention {
namespace {

bool IsGood(int64_t size) {
  for (const int64_t prime : {2, 3, 5, 7}) {
    while (size % prime == 0) size /= prime;
  }
  return size == 1;
}

TEST(GoodFftSizeTest, IsTheSmallestProductOfSmallPrimes) {
  for (int64_t minimum = 1; minimum <= 3000; ++minimum) {
    int64_t expected = minimum;
    while (!IsGood(expected)) ++expected;
    ASSERT_EQ(GoodFftSize(minimum), expected);
  }
}

TEST(GoodFftSizeTest, LargeSizesStayClose) {
  for (const int64_t minimum : {2'097'151, 33'554'431, 1'000'000'007}) {
    const int64_t size = GoodFftSize(minimum);
    EXPECT_TRUE(IsGood(size));
    EXPECT_GE(size, minimum);
    EXPECT_LT(static_cast<double>(size), 1.01 * static_cast<double>(minimum));
  }
}

TEST(GoodFftSizeTest, RejectsWhatIsNoSize) {
  EXPECT_THROW(GoodFftSize(0), c10::Error);
  EXPECT_THROW(GoodFftSize((int64_t{1} << 61) + 1), c10::Error);
}

}  // namespace
}  // namespace longwave::attention
