#include "model/checkpoint/strict_json.h"

#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

using Json = nlohmann::json;

// Walks a text without building anything and remembers the first thing that is wrong with it.
class StrictnessCheck : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }

  bool start_object(std::size_t) override {
    keys_.emplace_back();
    return Nest();
  }
  bool key(string_t& name) override {
    if (!keys_.back().insert(name).second) {
      error_ = absl::StrCat("the key '", name, "' occurs twice in one object");
      return false;
    }
    return true;
  }
  bool end_object() override {
    keys_.pop_back();
    --depth_;
    return true;
  }
  bool start_array(std::size_t) override { return Nest(); }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception& error) override {
    error_ = absl::StrCat("not valid JSON at byte ", position, ": ", error.what());
    return false;
  }

  const std::string& error() const { return error_; }

 private:
  bool Nest() {
    if (++depth_ <= kMaxJsonDepth) return true;
    error_ = absl::StrCat("nested deeper than ", kMaxJsonDepth, " levels");
    return false;
  }

  int depth_ = 0;
  std::vector<std::set<std::string>> keys_;  // of each open object
  std::string error_;
};

}  // namespace

absl::StatusOr<nlohmann::json> ParseStrictJson(absl::string_view text, const std::string& where) {
  StrictnessCheck check;
  if (!Json::sax_parse(text.begin(), text.end(), &check)) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": ", check.error()));
  }
  Json value = Json::parse(text.begin(), text.end(), /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": found a JSON ", value.type_name(), ", expected an object"));
  }
  return value;
}

}  // namespace longwave
