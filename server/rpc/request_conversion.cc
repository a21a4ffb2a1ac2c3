#include "server/rpc/request_conversion.h"

#include <string>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longwave {
namespace {

absl::StatusOr<Pooling> ConvertPooling(const v1::Pooling& pooling, Pooling model_default) {
  switch (pooling.kind_case()) {
    case v1::Pooling::kMean:
      return Pooling::kMean;
    case v1::Pooling::kFirstToken:
      return Pooling::kFirstToken;
    case v1::Pooling::kNone:
      return Pooling::kNone;
    case v1::Pooling::KIND_NOT_SET:
      return model_default;
  }
  return absl::InvalidArgumentError("options.pooling: unknown kind");
}

absl::StatusOr<EmbeddingFormat> ConvertFormat(const v1::EmbeddingFormat& format) {
  v1::EmbeddingType type = format.type();
  if (type == v1::EMBEDDING_TYPE_UNSPECIFIED) type = v1::EMBEDDING_TYPE_FLOAT32;
  if (!v1::EmbeddingType_IsValid(type)) {
    return absl::InvalidArgumentError(
        absl::StrCat("options.format.type: found the unknown value ", static_cast<int>(type)));
  }
  if (format.as_floats() && type != v1::EMBEDDING_TYPE_FLOAT32) {
    return absl::InvalidArgumentError(
        absl::StrCat("options.format.type: found ", v1::EmbeddingType_Name(type),
                     ", expected EMBEDDING_TYPE_FLOAT32 because as_floats is set"));
  }
  return EmbeddingFormat{type, format.as_floats()};
}

absl::StatusOr<LengthRule> ConvertTruncation(const v1::Truncation& truncation,
                                             const ModelInfo& model) {
  LengthRule rule;
  switch (truncation.policy()) {
    case v1::TRUNCATION_POLICY_UNSPECIFIED:
    case v1::TRUNCATION_POLICY_ERROR:
      rule.overflow = Overflow::kError;
      break;
    case v1::TRUNCATION_POLICY_TRUNCATE_END:
      rule.overflow = Overflow::kTruncateEnd;
      break;
    default:
      return absl::InvalidArgumentError(absl::StrCat("truncation.policy: found the unknown value ",
                                                     static_cast<int>(truncation.policy())));
  }
  const int64_t max_tokens = truncation.max_tokens();
  if (max_tokens < 0 || max_tokens > model.max_length) {
    return absl::InvalidArgumentError(absl::StrCat("truncation.max_tokens: found ", max_tokens,
                                                   ", expected 1 to the model's ", model.max_length,
                                                   ", or 0 for that"));
  }
  rule.max_tokens = max_tokens == 0 ? model.max_length : max_tokens;
  return rule;
}

// The index of the head that a request names.
absl::StatusOr<int> FindHead(const std::string& name, const ModelInfo& model) {
  if (name.empty() && model.heads.size() == 1) return 0;
  for (size_t i = 0; i < model.heads.size(); ++i) {
    if (model.heads[i].name == name) return static_cast<int>(i);
  }
  const std::string names = absl::StrJoin(
      model.heads, ", ", [](std::string* out, const HeadInfo& head) { out->append(head.name); });
  if (name.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("head: required, because the model has several: ", names));
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "head: found \"", absl::CHexEscape(name.substr(0, 128)), "\", expected one of: ", names));
}

}  // namespace

absl::Status CheckInputCount(int64_t found, int64_t max_inputs) {
  if (found >= 1 && found <= max_inputs) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("inputs: found ", found, ", expected 1 to ", max_inputs));
}

absl::StatusOr<RequestOptions> ConvertEncodeOptions(const v1::EncodeOptions& options,
                                                    const ModelInfo& model) {
  if (!model.can_encode) {
    return absl::InvalidArgumentError("the model does not serve Encode, only Classify");
  }
  absl::StatusOr<Pooling> pooling = ConvertPooling(options.pooling(), model.default_pooling);
  if (!pooling.ok()) return pooling.status();
  absl::StatusOr<EmbeddingFormat> format = ConvertFormat(options.format());
  if (!format.ok()) return format.status();
  absl::StatusOr<LengthRule> length = ConvertTruncation(options.truncation(), model);
  if (!length.ok()) return length.status();
  RequestOptions converted;
  converted.run.task = Task::kEncode;
  converted.run.pooling = *pooling;
  converted.run.normalize = options.normalize();
  converted.length = *length;
  converted.format = *format;
  return converted;
}

absl::StatusOr<RequestOptions> ConvertClassifyOptions(const v1::ClassifyRequest& request,
                                                      const ModelInfo& model) {
  if (model.heads.empty()) {
    return absl::InvalidArgumentError("the model has no classification head; it serves Encode");
  }
  absl::StatusOr<int> head = FindHead(request.head(), model);
  if (!head.ok()) return head.status();
  const int labels = static_cast<int>(model.heads[*head].labels.size());
  if (request.top_k() < 0 || request.top_k() > labels) {
    return absl::InvalidArgumentError(absl::StrCat(
        "top_k: found ", request.top_k(), ", expected 0 (all) to the head's ", labels, " labels"));
  }
  absl::StatusOr<LengthRule> length = ConvertTruncation(request.truncation(), model);
  if (!length.ok()) return length.status();
  RequestOptions converted;
  converted.run.task = Task::kClassify;
  converted.run.head = *head;
  converted.length = *length;
  converted.top_k = request.top_k() == 0 ? labels : request.top_k();
  return converted;
}

absl::StatusOr<int64_t> ConvertMaxChunkBytes(int64_t max_chunk_bytes) {
  constexpr int64_t kDefault = 1 << 20;
  constexpr int64_t kMin = 4 << 10;
  constexpr int64_t kMax = (4 << 20) - (64 << 10);  // room for the fields beside the payload
  if (max_chunk_bytes == 0) return kDefault;
  if (max_chunk_bytes >= kMin && max_chunk_bytes <= kMax) return max_chunk_bytes;
  return absl::InvalidArgumentError(absl::StrCat("max_chunk_bytes: found ", max_chunk_bytes,
                                                 ", expected ", kMin, " to ", kMax, ", or 0 for ",
                                                 kDefault));
}

absl::StatusOr<TokenSequence> TokenizeInput(const v1::Input& input, int index,
                                            const Tokenizer& tokenizer, const LengthRule& rule) {
  absl::StatusOr<TokenSequence> sequence =
      absl::InvalidArgumentError("found no data, expected one of text, raw and token_ids");
  switch (input.data_case()) {
    case v1::Input::kText:
      sequence = tokenizer.EncodeText(input.text(), rule.max_tokens, rule.overflow);
      break;
    case v1::Input::kRaw:
      sequence = tokenizer.EncodeBytes(input.raw(), rule.max_tokens, rule.overflow);
      break;
    case v1::Input::kTokenIds:
      sequence = tokenizer.EncodeIds(input.token_ids().ids(), rule.max_tokens, rule.overflow);
      break;
    case v1::Input::DATA_NOT_SET:
      break;
  }
  if (sequence.ok()) return sequence;
  return absl::Status(sequence.status().code(),
                      absl::StrCat("inputs[", index, "]: ", sequence.status().message()));
}

}  // namespace longwave
