#include "server/rpc/client_weights.h"

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "server/rpc/caller.h"

namespace longwave {
namespace {

// Keeps the order of members, by which errors name those that have no known name.
using Json = nlohmann::ordered_json;

constexpr char kApiKey[] = "api_key";
constexpr char kAuthorization[] = "authorization";
constexpr char kAddress[] = "address";
constexpr char kWeight[] = "weight";

absl::Status Bad(absl::string_view where, absl::string_view found, absl::string_view expected) {
  return absl::InvalidArgumentError(
      absl::StrCat(where, ": found ", found, ", expected ", expected));
}

// By its place: who mistakes the format writes a key as a name.
absl::Status UnknownMember(absl::string_view where, int number, absl::string_view expected) {
  return Bad(where, absl::StrCat("an unknown name of member ", number), expected);
}

absl::StatusOr<double> ParseWeight(const Json& value, absl::string_view where) {
  if (value.is_number()) {
    const double weight = value.get<double>();
    if (weight >= ClientWeights::kLeast && weight <= ClientWeights::kMost) return weight;
  }
  return Bad(where, value.is_number() ? value.dump() : value.type_name(),
             absl::StrCat("a number from ", ClientWeights::kLeast, " to ", ClientWeights::kMost));
}

// The client that a member of an entry names. No error shows the value: a key may be where an
// address belongs.
absl::StatusOr<uint64_t> ParseClient(const std::string& member, const Json& value,
                                     absl::string_view where) {
  if (!value.is_string() || value.get_ref<const std::string&>().empty()) {
    return Bad(where, value.is_string() ? "an empty string" : value.type_name(), "a string");
  }
  const std::string& text = value.get_ref<const std::string&>();
  if (member == kAddress) {
    const absl::StatusOr<uint64_t> client = ClientOfAddress(text);
    if (client.ok()) return client;
    return Bad(where, "another string", "an IPv4 or IPv6 address");
  }
  return member == kApiKey ? ClientOfMetadata(kApiKeyMetadata, text)
                           : ClientOfMetadata(kAuthorizationMetadata, text);
}

struct Entry {
  uint64_t client = 0;
  double weight = 1;
};

absl::StatusOr<Entry> ParseEntry(const Json& json, const std::string& where) {
  constexpr char kShape[] =
      "an object of \"weight\" and one of \"api_key\", \"authorization\" and \"address\"";
  if (!json.is_object()) return Bad(where, json.type_name(), kShape);
  if (json.size() != 2 || !json.contains(kWeight)) return Bad(where, "other members", kShape);
  const absl::StatusOr<double> weight =
      ParseWeight(json.at(kWeight), absl::StrCat(where, ".", kWeight));
  if (!weight.ok()) return weight.status();
  auto named = json.begin();
  const bool second = named.key() == kWeight;
  if (second) ++named;
  const std::string& member = named.key();
  if (member != kApiKey && member != kAuthorization && member != kAddress) {
    return UnknownMember(where, second ? 2 : 1, kShape);
  }
  const absl::StatusOr<uint64_t> client =
      ParseClient(member, named.value(), absl::StrCat(where, ".", member));
  if (!client.ok()) return client.status();
  return Entry{*client, *weight};
}

}  // namespace

absl::StatusOr<ClientWeights> ClientWeights::Parse(absl::string_view json) {
  const Json root = Json::parse(json, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (root.is_discarded()) return absl::InvalidArgumentError("this is no JSON");
  if (!root.is_object()) return Bad("the file", root.type_name(), "an object");
  ClientWeights weights;
  weights.named_keys_only_ = true;
  int number = 0;
  for (const auto& [name, value] : root.items()) {
    ++number;
    if (name == "default_weight") {
      const absl::StatusOr<double> weight = ParseWeight(value, name);
      if (!weight.ok()) return weight.status();
      weights.default_weight_ = *weight;
    } else if (name != "clients") {
      return UnknownMember("the file", number, "\"clients\" or \"default_weight\"");
    } else if (!value.is_array()) {
      return Bad(name, value.type_name(), "an array");
    }
  }
  const Json clients = root.value("clients", Json::array());
  for (size_t i = 0; i < clients.size(); ++i) {
    const std::string where = absl::StrCat("clients[", i, "]");
    const absl::StatusOr<Entry> entry = ParseEntry(clients[i], where);
    if (!entry.ok()) return entry.status();
    if (!weights.weights_.emplace(entry->client, entry->weight).second) {
      return Bad(where, "a client that was named before", "each client once");
    }
  }
  return weights;
}

absl::StatusOr<ClientWeights> ClientWeights::Load(const std::string& path) {
  std::ifstream in(path);
  const std::string json{std::istreambuf_iterator<char>(in), {}};
  if (!in.good()) return absl::NotFoundError(absl::StrCat(path, ": cannot be read"));
  absl::StatusOr<ClientWeights> weights = Parse(json);
  if (weights.ok()) return weights;
  return absl::Status(weights.status().code(),
                      absl::StrCat(path, ": ", weights.status().message()));
}

double ClientWeights::Of(uint64_t client) const {
  const auto found = weights_.find(client);
  return found == weights_.end() ? default_weight_ : found->second;
}

}  // namespace longwave
