#include "server/rpc/client_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "server/rpc/caller.h"
#include "tests/support/files.h"

namespace longwave {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

TEST(ClientWeightsTest, AllAreEqualUnlessNamed) {
  EXPECT_EQ(ClientWeights().Of(1), 1);
  const absl::StatusOr<ClientWeights> weights = ClientWeights::Parse("{}");
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->Of(1), 1);
}

TEST(ClientWeightsTest, ClientsAreNamedByKeyAuthorizationOrAddress) {
  const absl::StatusOr<ClientWeights> weights = ClientWeights::Parse(R"({
    "default_weight": 0.5,
    "clients": [{"api_key": "k", "weight": 4}, {"weight": 2, "authorization": "Bearer t"},
                {"address": "10.0.0.7", "weight": 3}, {"address": "FD00:0::1", "weight": 7}]})");
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->size(), 4u);
  EXPECT_EQ(weights->Of(ClientOfMetadata(kApiKeyMetadata, "k")), 4);
  EXPECT_EQ(weights->Of(ClientOfMetadata(kAuthorizationMetadata, "Bearer t")), 2);
  EXPECT_EQ(weights->Of(*ClientOfAddress("10.0.0.7")), 3);
  EXPECT_EQ(weights->Of(*ClientOfAddress("fd00::1")), 7);
  EXPECT_EQ(weights->Of(ClientOfMetadata(kAuthorizationMetadata, "k")), 0.5);
}

TEST(ClientWeightsTest, ErrorsNameTheEntryAndNoKey) {
  for (const auto& [json, part] : std::vector<std::pair<const char*, const char*>>{
           {"clients", "no JSON"},
           {"[]", "found array, expected an object"},
           {R"({"default_weight": 1, "a secret": 4})",
            "the file: found an unknown name of member 2, expected \"clients\" or"},
           {R"({"clients": {}})", "clients: found object, expected an array"},
           {R"({"default_weight": 0})", "default_weight: found 0, expected a number from 0.01 to"},
           {R"({"default_weight": "2"})", "default_weight: found string"},
           {R"({"clients": [4]})", "clients[0]: found number"},
           {R"({"clients": [{"api_key": "secret"}]})", "clients[0]: found other members"},
           {R"({"clients": [{"secret": "api_key", "weight": 1}]})",
            "clients[0]: found an unknown name of member 1"},
           {R"({"clients": [{"weight": 1, "secret": "api_key"}]})",
            "clients[0]: found an unknown name of member 2"},
           {R"({"clients": [{"api_key": 5, "weight": 1}]})", "clients[0].api_key: found number"},
           {R"({"clients": [{"api_key": "", "weight": 1}]})", "clients[0].api_key: found an empty"},
           {R"({"clients": [{"api_key": "secret", "weight": 1e9}]})", "clients[0].weight: found 1"},
           {R"({"clients": [{"address": "a secret", "weight": 1}]})",
            "clients[0].address: found another string, expected an IPv4"},
           {R"({"clients": [{"api_key": "k", "weight": "secret"}]})",
            "clients[0].weight: found string"},
           {R"({"clients": [{"api_key": "secret", "weight": 1}, {"api_key": "secret",
                "weight": 2}]})",
            "clients[1]: found a client that was named before"}}) {
    const absl::Status status = ClientWeights::Parse(json).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << json;
    EXPECT_THAT(std::string(status.message()), AllOf(HasSubstr(part), Not(HasSubstr("secret"))));
  }
}

TEST(ClientWeightsTest, FilesAreNamed) {
  const testing::TempFolder folder;
  const std::string path = folder.path() + "/clients.json";
  const absl::Status missing = ClientWeights::Load(path).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr(path));
  std::ofstream(path) << R"({"clients": [{"api_key": "k", "weight": 3}]})";
  const absl::StatusOr<ClientWeights> weights = ClientWeights::Load(path);
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->Of(ClientOfMetadata(kApiKeyMetadata, "k")), 3);
  std::ofstream(path) << "{";
  EXPECT_THAT(std::string(ClientWeights::Load(path).status().message()), HasSubstr(path));
}

}  // namespace
}  // namespace longwave
