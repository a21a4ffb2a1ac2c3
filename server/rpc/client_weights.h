#ifndef LONGWAVE_SERVER_RPC_CLIENT_WEIGHTS_H_
#define LONGWAVE_SERVER_RPC_CLIENT_WEIGHTS_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longwave {

// How much of the device's time a client gets while it and others have work: in proportion to its
// weight. Immutable, thread-safe.
class ClientWeights {
 public:
  // A client of weight 100 beside one of weight 1 has 99% of the device.
  static constexpr double kLeast = 0.01;
  static constexpr double kMost = 100;

  // All clients are equal.
  ClientWeights() = default;

  // From JSON (docs/operations.md):
  //   {"default_weight": 1,
  //    "clients": [{"api_key": "...", "weight": 4}, {"authorization": "Bearer ...", "weight": 2},
  //                {"address": "10.0.0.7", "weight": 0.5}]}
  // INVALID_ARGUMENT naming the entry, what was found and what was expected. Keys are secrets, and
  // may stand anywhere in a mistaken file: errors show no string of it, nor an unknown member's
  // name.
  static absl::StatusOr<ClientWeights> Parse(absl::string_view json);

  // Reads such a file. Errors name it: NOT_FOUND when it cannot be read, else those of Parse().
  // Blocks.
  static absl::StatusOr<ClientWeights> Load(const std::string& path);

  // Of the client that ReadCaller() identifies by this number.
  double Of(uint64_t client) const;

  // Whether keys count only when they are named: true of what Parse() returns. Otherwise everybody
  // could be as many clients as he invents keys.
  bool named_keys_only() const { return named_keys_only_; }

  // Whether this client is named.
  bool Names(uint64_t client) const { return weights_.contains(client); }

  // Clients that are named.
  size_t size() const { return weights_.size(); }

 private:
  bool named_keys_only_ = false;
  double default_weight_ = 1;
  absl::flat_hash_map<uint64_t, double> weights_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_CLIENT_WEIGHTS_H_
