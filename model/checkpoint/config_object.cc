#include "model/checkpoint/config_object.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longwave {
namespace {

using Json = nlohmann::json;

const Json& EmptyObject() {
  static const Json* const empty = new Json(Json::object());
  return *empty;
}

const Json& EmptyList() {
  static const Json* const empty = new Json(Json::array());
  return *empty;
}

// A value for a message: short, whatever it holds.
std::string Show(const Json& value) {
  if (value.is_object() || value.is_array()) return absl::StrCat("an ", value.type_name());
  constexpr size_t kMaxShown = 64;
  std::string text = value.dump(-1, ' ', /*ensure_ascii=*/true, Json::error_handler_t::replace);
  if (text.size() > kMaxShown) text = absl::StrCat(text.substr(0, kMaxShown), "...");
  return text;
}

// An integer that fits into int64.
std::optional<int64_t> AsInt(const Json& value) {
  if (!value.is_number_integer()) return std::nullopt;
  if (value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX)) {
    return std::nullopt;
  }
  return value.get<int64_t>();
}

}  // namespace

void ConfigErrors::Add(absl::string_view key, absl::string_view message) {
  if (status_.ok()) {
    status_ = absl::InvalidArgumentError(absl::StrCat(where_, ": ", key, ": ", message));
  }
}

ConfigObject::ConfigObject(const Json& value, std::string path, ConfigErrors* errors)
    : value_(value.is_object() ? value : EmptyObject()), path_(std::move(path)), errors_(errors) {
  if (!value.is_object()) {
    errors_->Add(path_, absl::StrCat("found ", Show(value), ", expected an object"));
  }
}

bool ConfigObject::Has(const char* key) const { return value_.contains(key); }

void ConfigObject::Error(const std::string& key, absl::string_view message) {
  errors_->Add(absl::StrCat(path_, key), message);
}

void ConfigObject::WrongValue(const char* key, const Json& found, absl::string_view expected) {
  Error(key, absl::StrCat("found ", Show(found), ", expected ", expected));
}

const Json* ConfigObject::Get(const char* key, bool required) {
  known_.insert(key);
  const auto found = value_.find(key);
  if (found != value_.end()) return &*found;
  if (required) Error(key, "missing, and it has no default");
  return nullptr;
}

int64_t ConfigObject::Int(const char* key, int64_t min, int64_t max,
                          std::optional<int64_t> fallback) {
  const int64_t otherwise = fallback.value_or(min);
  const Json* value = Get(key, !fallback.has_value());
  if (value == nullptr) return otherwise;
  const std::optional<int64_t> number = AsInt(*value);
  if (number.has_value() && min <= *number && *number <= max) return *number;
  WrongValue(key, *value, absl::StrCat("an integer from ", min, " to ", max));
  return otherwise;
}

double ConfigObject::PositiveNumber(const char* key, std::optional<double> fallback) {
  const double otherwise = fallback.value_or(1.0);
  const Json* value = Get(key, !fallback.has_value());
  if (value == nullptr) return otherwise;
  if (value->is_number()) {
    const double number = value->get<double>();
    if (std::isfinite(number) && number > 0) return number;
  }
  WrongValue(key, *value, "a number above 0");
  return otherwise;
}

bool ConfigObject::Bool(const char* key, std::optional<bool> fallback) {
  const Json* value = Get(key, !fallback.has_value());
  if (value != nullptr && value->is_boolean()) return value->get<bool>();
  if (value != nullptr) WrongValue(key, *value, "true or false");
  return fallback.value_or(false);
}

std::string ConfigObject::String(const char* key, std::optional<std::string> fallback) {
  const Json* value = Get(key, !fallback.has_value());
  if (value != nullptr && value->is_string() && !value->get_ref<const std::string&>().empty()) {
    return value->get<std::string>();
  }
  if (value != nullptr) WrongValue(key, *value, "a string of at least one character");
  return fallback.value_or("");
}

std::optional<size_t> ConfigObject::ChoiceIndex(const char* key,
                                                const std::vector<std::string>& names,
                                                bool required) {
  const Json* value = Get(key, required);
  if (value == nullptr) return std::nullopt;
  if (value->is_string()) {
    const auto found = std::find(names.begin(), names.end(), value->get_ref<const std::string&>());
    if (found != names.end()) return found - names.begin();
  }
  WrongValue(key, *value, absl::StrCat("'", absl::StrJoin(names, "' or '"), "'"));
  return std::nullopt;
}

std::vector<int32_t> ConfigObject::IntList(const char* key, int32_t min, int32_t max) {
  std::vector<int32_t> numbers;
  for (const Json& element : List(key, /*required=*/false)) {
    const std::optional<int64_t> number = AsInt(element);
    if (!number.has_value() || *number < min || *number > max) {
      WrongValue(key, element, absl::StrCat("integers from ", min, " to ", max));
      return {};
    }
    numbers.push_back(static_cast<int32_t>(*number));
  }
  return numbers;
}

const Json& ConfigObject::Object(const char* key) {
  const Json* value = Get(key, /*required=*/true);
  if (value == nullptr) return EmptyObject();
  if (value->is_object()) return *value;
  WrongValue(key, *value, "an object");
  return EmptyObject();
}

const Json& ConfigObject::List(const char* key, bool required) {
  const Json* value = Get(key, required);
  if (value == nullptr) return EmptyList();
  if (value->is_array()) return *value;
  WrongValue(key, *value, "a list");
  return EmptyList();
}

std::vector<std::string> ConfigObject::UnknownKeys() const {
  std::vector<std::string> unknown;
  for (const auto& [key, value] : value_.items()) {
    if (known_.count(key) == 0) unknown.push_back(absl::StrCat(path_, key));
  }
  return unknown;
}

}  // namespace longwave
