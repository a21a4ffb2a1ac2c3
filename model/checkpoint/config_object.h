#ifndef LONGWAVE_MODEL_CHECKPOINT_CONFIG_OBJECT_H_
#define LONGWAVE_MODEL_CHECKPOINT_CONFIG_OBJECT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace longwave {

// Where the readers of one document put the first thing that is wrong: after it, they return
// defaults, and the caller looks once, at the end.
class ConfigErrors {
 public:
  explicit ConfigErrors(std::string where) : where_(std::move(where)) {}

  // "<file>: <key>: <message>"; only the first one is kept.
  void Add(absl::string_view key, absl::string_view message);

  const absl::Status& status() const { return status_; }

 private:
  std::string where_;
  absl::Status status_;
};

// Reads typed keys of a JSON object and remembers which ones were asked for. A key without a
// default is required. Not thread-safe. Internal to this folder: it shows the JSON library.
class ConfigObject {
 public:
  using Json = nlohmann::json;

  // `path` is the object's own key ("attention."), empty at the top. `value` and `errors` must
  // outlive this object; a value that is not an object is an error, and is then read as an empty
  // one.
  ConfigObject(const Json& value, std::string path, ConfigErrors* errors);

  bool Has(const char* key) const;

  // An integer in [min, max].
  int64_t Int(const char* key, int64_t min, int64_t max,
              std::optional<int64_t> fallback = std::nullopt);

  // A finite number above 0.
  double PositiveNumber(const char* key, std::optional<double> fallback = std::nullopt);

  bool Bool(const char* key, std::optional<bool> fallback = std::nullopt);

  // A string of at least one character.
  std::string String(const char* key, std::optional<std::string> fallback = std::nullopt);

  // One of the names in `choices`.
  template <typename Enum>
  Enum Choice(const char* key, const std::vector<std::pair<const char*, Enum>>& choices,
              std::optional<Enum> fallback = std::nullopt) {
    std::vector<std::string> names;
    for (const auto& [name, value] : choices) names.emplace_back(name);
    const std::optional<size_t> index = ChoiceIndex(key, names, !fallback.has_value());
    if (index.has_value()) return choices[*index].second;
    return fallback.value_or(choices.front().second);
  }

  // A list of integers in [min, max]; empty when the key is absent.
  std::vector<int32_t> IntList(const char* key, int32_t min, int32_t max);

  // The object or the list at `key`; an empty one when that is absent (an error if `required`) or
  // of another type (an error).
  const Json& Object(const char* key);
  const Json& List(const char* key, bool required);

  // An error about a key of this object.
  void Error(const std::string& key, absl::string_view message);

  // Keys that no call asked for, with this object's path.
  std::vector<std::string> UnknownKeys() const;

 private:
  // The value, or null with an error when it is required and absent.
  const Json* Get(const char* key, bool required);
  std::optional<size_t> ChoiceIndex(const char* key, const std::vector<std::string>& names,
                                    bool required);
  void WrongValue(const char* key, const Json& found, absl::string_view expected);

  const Json& value_;
  std::string path_;
  ConfigErrors* errors_;
  std::set<std::string> known_;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_CHECKPOINT_CONFIG_OBJECT_H_
