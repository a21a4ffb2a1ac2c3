#include "server/rpc/caller.h"

#include <gtest/gtest.h>

namespace longwave {
namespace {

TEST(CallerTest, AnAddressHasNoPort) {
  EXPECT_EQ(AddressOf("ipv4:10.0.0.1:5005"), "ipv4:10.0.0.1");
  EXPECT_EQ(AddressOf("ipv6:%5B::1%5D:5005"), "ipv6:%5B::1%5D");
  EXPECT_EQ(AddressOf("unix:/tmp/socket:1"), "unix:/tmp/socket:1");
}

}  // namespace
}  // namespace longwave
