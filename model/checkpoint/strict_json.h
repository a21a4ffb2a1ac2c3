#ifndef LONGWAVE_MODEL_CHECKPOINT_STRICT_JSON_H_
#define LONGWAVE_MODEL_CHECKPOINT_STRICT_JSON_H_

#include <nlohmann/json.hpp>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longwave {

// Deepest nesting of objects and arrays that a model folder's JSON may have; the formats need four.
inline constexpr int kMaxJsonDepth = 16;

// Parses a JSON object (RFC 8259, UTF-8) for files that nobody vouches for: beyond the grammar, a
// key that occurs twice in an object, nesting deeper than kMaxJsonDepth and a top level that is not
// an object are INVALID_ARGUMENT. Never throws. Messages start with `where`. Memory is bounded by a
// small multiple of the text.
//
// Internal to this folder: it shows the JSON library.
absl::StatusOr<nlohmann::json> ParseStrictJson(absl::string_view text, const std::string& where);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_CHECKPOINT_STRICT_JSON_H_
