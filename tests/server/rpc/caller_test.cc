#include "server/rpc/caller.h"

#include <gtest/gtest.h>

#include "absl/hash/hash.h"

namespace longwave {
namespace {

TEST(CallerTest, AnAddressHasNoPort) {
  EXPECT_EQ(AddressOf("ipv4:10.0.0.1:5005"), "ipv4:10.0.0.1");
  EXPECT_EQ(AddressOf("ipv6:%5B::1%5D:5005"), "ipv6:%5B::1%5D");
  EXPECT_EQ(AddressOf("unix:/tmp/socket:1"), "unix:/tmp/socket:1");
}

TEST(CallerTest, AConfiguredAddressIsThatOfThePeer) {
  EXPECT_EQ(*ClientOfAddress("10.0.0.1"), absl::HashOf(AddressOf("ipv4:10.0.0.1:5005")));
  EXPECT_EQ(*ClientOfAddress("::1"), absl::HashOf(AddressOf("ipv6:%5B::1%5D:5005")));
  EXPECT_EQ(*ClientOfAddress("0:0:0:0:0:0:0:1"), *ClientOfAddress("::1"));
  for (const char* address : {"", "localhost", "10.0.0", "10.0.0.1:5005", "[::1]"}) {
    EXPECT_EQ(ClientOfAddress(address).status().code(), absl::StatusCode::kInvalidArgument);
  }
}

}  // namespace
}  // namespace longwave
