#ifndef LONGWAVE_CLIENT_CONVERT_H_
#define LONGWAVE_CLIENT_CONVERT_H_

// Internal: between the client's plain types and the wire's messages. Include from .cc files only.

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "client/types.h"
#include "longwave/v1/inference.pb.h"
#include "longwave/v1/model.pb.h"

namespace longwave::client {

v1::EncodeRequest ToEncodeRequest(absl::Span<const Document> documents,
                                  const EncodeOptions& options);
v1::EncodeStreamRequest ToEncodeStreamRequest(absl::Span<const Document> documents,
                                              const EncodeOptions& options);
v1::ClassifyRequest ToClassifyRequest(absl::Span<const Document> documents,
                                      const ClassifyOptions& options);

// Appends the elements of `embedding` to `values`. INTERNAL when its type is unknown or its data do
// not fill its shape.
absl::Status AppendElements(const v1::Embedding& embedding, std::vector<float>& values);

// INTERNAL when the response does not have one well-formed result per document.
absl::StatusOr<EncodeReply> FromResponse(const v1::EncodeResponse& response, size_t documents);
absl::StatusOr<ClassifyReply> FromResponse(const v1::ClassifyResponse& response, size_t documents);

absl::Status FromStatus(const v1::ResultStatus& status);
ModelId FromModelSpec(const v1::ModelSpec& spec);
Usage FromUsage(const v1::Usage& usage);
Timing FromTiming(const v1::Timing& timing);
ModelInfo FromModelInfo(const v1::ModelInfo& info);
AttentionPlan FromAttentionPlan(const v1::AttentionPlan& plan);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CONVERT_H_
