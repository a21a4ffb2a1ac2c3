#include "client/cli/json.h"

namespace longwave::client {

Json ToJson(const ModelId& model) { return {{"name", model.name}, {"version", model.version}}; }

Json ToJson(const Usage& usage) {
  return {
      {"tokens", usage.tokens}, {"padded_tokens", usage.padded_tokens}, {"inputs", usage.inputs}};
}

Json ToJson(const absl::Status& status) {
  return {{"code", absl::StatusCodeToString(status.code())},
          {"message", std::string(status.message())}};
}

Json ToJson(const Neighbour& neighbour, const std::string& name) {
  return {{"input", name}, {"cosine", static_cast<float>(neighbour.cosine)}};
}

void Print(const Json& json, std::ostream& out) {
  out << json.dump(2, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) << '\n';
}

}  // namespace longwave::client
