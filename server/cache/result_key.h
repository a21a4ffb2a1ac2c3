#ifndef LONGWAVE_SERVER_CACHE_RESULT_KEY_H_
#define LONGWAVE_SERVER_CACHE_RESULT_KEY_H_

#include <array>
#include <cstdint>
#include <utility>

#include "absl/strings/string_view.h"
#include "model/runtime/model.h"

namespace longwave {

// Names the result of an input: the SHA-256 of everything that it depends on, and the number of its
// tokens. Nobody can make an input that is answered with another's result.
struct ResultKey {
  std::array<uint8_t, 32> digest{};
  int64_t tokens = 0;

  friend bool operator==(const ResultKey&, const ResultKey&) = default;

  template <typename H>
  friend H AbslHashValue(H h, const ResultKey& key) {
    return H::combine(std::move(h), key.digest, key.tokens);
  }
};

// The key of what version `version` of `model` makes of an item: its task and the options that the
// task looks at, and its token ids.
ResultKey MakeResultKey(absl::string_view model, int64_t version, const RunItem& item);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_CACHE_RESULT_KEY_H_
