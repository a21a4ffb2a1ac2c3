#include "server/rpc/caller.h"

#include <arpa/inet.h>

#include <array>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace longwave {
namespace {

std::optional<absl::string_view> Find(const grpc::ServerContextBase& context, const char* key) {
  const auto& metadata = context.client_metadata();
  const auto found = metadata.find(key);
  if (found == metadata.end()) return std::nullopt;
  return absl::string_view(found->second.data(), found->second.size());
}

}  // namespace

uint64_t IdentifyClient(std::optional<absl::string_view> api_key,
                        std::optional<absl::string_view> authorization, const std::string& peer,
                        const ClientWeights& weights) {
  for (const auto& [key, value] :
       {std::pair(kApiKeyMetadata, api_key), std::pair(kAuthorizationMetadata, authorization)}) {
    if (!value.has_value()) continue;
    const uint64_t client = ClientOfMetadata(key, *value);
    if (!weights.named_keys_only() || weights.Names(client)) return client;
  }
  return absl::HashOf(AddressOf(peer));
}

std::string AddressOf(const std::string& peer) {
  if (!absl::StartsWith(peer, "ipv4:") && !absl::StartsWith(peer, "ipv6:")) return peer;
  return peer.substr(0, peer.rfind(':'));
}

uint64_t ClientOfMetadata(absl::string_view key, absl::string_view value) {
  return absl::HashOf(key, value);
}

absl::StatusOr<uint64_t> ClientOfAddress(const std::string& address) {
  std::array<unsigned char, sizeof(in6_addr)> bytes;
  std::array<char, INET6_ADDRSTRLEN> text;
  for (const int family : {AF_INET, AF_INET6}) {
    if (inet_pton(family, address.c_str(), bytes.data()) != 1) continue;
    inet_ntop(family, bytes.data(), text.data(), text.size());  // one form of many
    return absl::HashOf(family == AF_INET ? absl::StrCat("ipv4:", text.data())
                                          : absl::StrCat("ipv6:%5B", text.data(), "%5D"));
  }
  return absl::InvalidArgumentError(
      absl::StrCat("found \"", absl::CHexEscape(address), "\", expected an IPv4 or IPv6 address"));
}

absl::StatusOr<Caller> ReadCaller(const grpc::ServerContextBase& context,
                                  const ClientWeights& weights) {
  Caller caller;
  caller.client = IdentifyClient(Find(context, kApiKeyMetadata),
                                 Find(context, kAuthorizationMetadata), context.peer(), weights);
  const std::optional<absl::string_view> priority = Find(context, kPriorityMetadata);
  if (!priority.has_value() || *priority == "normal") return caller;
  if (*priority == "low") {
    caller.priority = Priority::kLow;
  } else if (*priority == "high") {
    caller.priority = Priority::kHigh;
  } else {
    return absl::InvalidArgumentError(absl::StrCat("metadata ", kPriorityMetadata, ": found \"",
                                                   absl::CHexEscape(priority->substr(0, 32)),
                                                   "\", expected \"low\", \"normal\" or \"high\""));
  }
  return caller;
}

}  // namespace longwave
