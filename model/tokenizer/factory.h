#ifndef LONGWAVE_MODEL_TOKENIZER_FACTORY_H_
#define LONGWAVE_MODEL_TOKENIZER_FACTORY_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "model/checkpoint/model_config.h"
#include "model/tokenizer/tokenizer.h"

namespace longwave {

// The tokenizer that `config` names, with its file read from `folder`. INVALID_ARGUMENT when the
// file cannot be the model's tokenizer, NOT_FOUND when it is not there.
absl::StatusOr<std::unique_ptr<const Tokenizer>> CreateTokenizer(const std::string& folder,
                                                                 const ModelConfig& config);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_TOKENIZER_FACTORY_H_
