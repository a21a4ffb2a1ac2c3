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

constexpr char kPeer[] = "ipv4:10.0.0.1:5005";

TEST(CallerTest, AKeyIsAClientWhenNoFileNamesThem) {
  const ClientWeights equal;
  const uint64_t address = *ClientOfAddress("10.0.0.1");
  EXPECT_EQ(IdentifyClient(std::nullopt, std::nullopt, kPeer, equal), address);
  EXPECT_EQ(IdentifyClient("k", "Bearer t", kPeer, equal), ClientOfMetadata(kApiKeyMetadata, "k"));
  EXPECT_EQ(IdentifyClient(std::nullopt, "Bearer t", kPeer, equal),
            ClientOfMetadata(kAuthorizationMetadata, "Bearer t"));
}

TEST(CallerTest, WithAFileInventedKeysAreOneClientWithTheirAddress) {
  const absl::StatusOr<ClientWeights> weights = ClientWeights::Parse(R"({"clients": [
      {"api_key": "k", "weight": 4}, {"authorization": "Bearer t", "weight": 2}]})");
  ASSERT_TRUE(weights.ok()) << weights.status();
  const uint64_t address = *ClientOfAddress("10.0.0.1");
  EXPECT_EQ(IdentifyClient("k", std::nullopt, kPeer, *weights),
            ClientOfMetadata(kApiKeyMetadata, "k"));
  for (const char* invented : {"", "a", "b", "Bearer t"}) {
    EXPECT_EQ(IdentifyClient(invented, std::nullopt, kPeer, *weights), address);
    EXPECT_EQ(IdentifyClient(invented, "Bearer x", kPeer, *weights), address);
    EXPECT_EQ(IdentifyClient(invented, "Bearer t", kPeer, *weights),
              ClientOfMetadata(kAuthorizationMetadata, "Bearer t"));
  }
}

}  // namespace
}  // namespace longwave
