#ifndef LONGWAVE_SERVER_RPC_RESPONSE_CONVERSION_H_
#define LONGWAVE_SERVER_RPC_RESPONSE_CONVERSION_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "longwave/v1/inference.pb.h"
#include "longwave/v1/model.pb.h"
#include "model/runtime/model.h"
#include "server/rpc/inference_item.h"
#include "server/rpc/model_catalog.h"
#include "server/rpc/request_conversion.h"

// From results to messages.
namespace longwave {

// OUT_OF_RANGE, before anything is computed, when embeddings of `rows` rows in all would not fit
// into a response of `max_response_bytes`; the message says what would.
absl::Status CheckEncodeResponseSize(int64_t rows, int64_t inputs, int64_t hidden_size,
                                     const EmbeddingFormat& format, int64_t max_response_bytes);

// The same for `top_k` labels of each input; it counts the longest label.
absl::Status CheckClassifyResponseSize(int64_t inputs, int64_t top_k, const HeadInfo& head,
                                       int64_t max_response_bytes);

void WriteEncodeResult(const ItemOutcome& outcome, const RequestOptions& options,
                       v1::EncodeResult* result);

// The `options.top_k` most probable labels, most probable first, ties by index.
void WriteClassifyResult(const ItemOutcome& outcome, const RequestOptions& options,
                         const HeadInfo& head, v1::ClassifyResult* result);

// Sums over outcomes.
v1::Usage MakeUsage(absl::Span<const ItemOutcome> outcomes);

// Queue and compute are the longest of the outcomes'.
v1::Timing MakeTiming(absl::Span<const ItemOutcome> outcomes, absl::Duration tokenize,
                      absl::Duration total);

v1::ModelSpec MakeModelSpec(const ServedModel& model);

v1::ModelInfo MakeModelInfo(const ServedModel& model);

v1::AttentionPlan MakeAttentionPlan(const AttentionPlan& plan);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_RESPONSE_CONVERSION_H_
