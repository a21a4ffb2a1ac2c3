#include "client/channel.h"

#include <gtest/gtest.h>

namespace longwave::client {
namespace {

TEST(ChannelTest, AddsThePortWhenThereIsNone) {
  EXPECT_EQ(WithPort("localhost"), "localhost:8470");
  EXPECT_EQ(WithPort("localhost:"), "localhost:8470");
  EXPECT_EQ(WithPort("localhost:1"), "localhost:1");
  EXPECT_EQ(WithPort("[::1]"), "[::1]:8470");
  EXPECT_EQ(WithPort("[::1]:99"), "[::1]:99");
}

}  // namespace
}  // namespace longwave::client
