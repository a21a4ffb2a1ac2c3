#ifndef LONGWAVE_MODEL_TOKENIZER_FIT_H_
#define LONGWAVE_MODEL_TOKENIZER_FIT_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "model/tokenizer/tokenizer.h"

namespace longwave {

// How many content tokens a sequence keeps.
struct Fit {
  int64_t kept = 0;
  int64_t dropped = 0;
};

// Fits `content` tokens and `special` ones into `max_tokens`. OUT_OF_RANGE when that needs dropping
// and `overflow` is kError; INVALID_ARGUMENT when nothing of the content could be kept.
absl::StatusOr<Fit> FitContent(int64_t content, int64_t special, int64_t max_tokens,
                               Overflow overflow);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_TOKENIZER_FIT_H_
