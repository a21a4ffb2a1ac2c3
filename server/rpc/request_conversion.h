#ifndef LONGWAVE_SERVER_RPC_REQUEST_CONVERSION_H_
#define LONGWAVE_SERVER_RPC_REQUEST_CONVERSION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "longwave/v1/inference.pb.h"
#include "model/runtime/model.h"
#include "server/rpc/embedding_writer.h"

// From messages to what the model understands. Every error names the field, what was found and what
// was expected; unless said otherwise it is INVALID_ARGUMENT and concerns the whole request.
namespace longwave {

// How long an input may be, and what happens to a longer one.
struct LengthRule {
  int64_t max_tokens = 0;
  Overflow overflow = Overflow::kError;
};

// What is wanted of each input of a request.
struct RequestOptions {
  RunItem run;  // without tokens
  LengthRule length;
  EmbeddingFormat format;  // encode only
  int top_k = 0;           // classify only; at least 1
};

// The number of inputs must be 1 to `max_inputs`.
absl::Status CheckInputCount(int64_t found, int64_t max_inputs);

// Options of Encode and EncodeStream.
absl::StatusOr<RequestOptions> ConvertEncodeOptions(const v1::EncodeOptions& options,
                                                    const ModelInfo& model);

// Everything of a Classify request but its model and inputs.
absl::StatusOr<RequestOptions> ConvertClassifyOptions(const v1::ClassifyRequest& request,
                                                      const ModelInfo& model);

// Bytes of one chunk of EncodeStream.
absl::StatusOr<int64_t> ConvertMaxChunkBytes(int64_t max_chunk_bytes);

// What is wanted of one input: `options` with the tokens of `sequence`, which must outlive it.
inline RunItem WithTokens(RunItem options, const TokenSequence& sequence) {
  options.tokens = sequence.ids;
  return options;
}

// The token ids of one input, number `index` of its request. The errors are the tokenizer's, and
// concern this input alone.
absl::StatusOr<TokenSequence> TokenizeInput(const v1::Input& input, int index,
                                            const Tokenizer& tokenizer, const LengthRule& rule);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_REQUEST_CONVERSION_H_
