#ifndef LONGWAVE_CLIENT_CLI_JSON_H_
#define LONGWAVE_CLIENT_CLI_JSON_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/cli/nearest.h"
#include "client/types.h"

namespace longwave::client {

// JSON that keeps the order of keys and writes a float32 in as few digits as give it back.
using Json = nlohmann::basic_json<nlohmann::ordered_map, std::vector, std::string, bool,
                                  std::int64_t, std::uint64_t, float>;

Json ToJson(const ModelId& model);        // {"name", "version"}
Json ToJson(const Usage& usage);          // {"tokens", "padded_tokens", "inputs"}
Json ToJson(const absl::Status& status);  // {"code": "OUT_OF_RANGE", "message"}
Json ToJson(const Neighbour& neighbour, const std::string& name);  // {"input", "cosine"}

// Writes one document, indented by two blanks, and a line end. What is not UTF-8 is replaced.
void Print(const Json& json, std::ostream& out);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_JSON_H_
