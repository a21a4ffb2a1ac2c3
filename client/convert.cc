#include "client/convert.h"

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/half.h"

namespace longwave::client {
namespace {

static_assert(std::endian::native == std::endian::little, "embeddings are read in place");

void SetModel(const ModelId& model, v1::ModelSpec* spec) {
  spec->set_name(model.name);
  spec->set_version(model.version);
}

void SetTruncation(const Truncation& truncation, v1::Truncation* out) {
  out->set_policy(truncation.truncate ? v1::TRUNCATION_POLICY_TRUNCATE_END
                                      : v1::TRUNCATION_POLICY_ERROR);
  out->set_max_tokens(truncation.max_tokens);
}

void AddInput(const Document& document, v1::Input* input) {
  switch (document.kind) {
    case Document::Kind::kText:
      input->set_text(document.data);
      break;
    case Document::Kind::kBytes:
      input->set_raw(document.data);
      break;
    case Document::Kind::kTokenIds:
      input->mutable_token_ids()->mutable_ids()->Assign(document.ids.begin(), document.ids.end());
      break;
  }
}

v1::EmbeddingType ToType(Precision precision) {
  switch (precision) {
    case Precision::kFloat16:
      return v1::EMBEDDING_TYPE_FLOAT16;
    case Precision::kBfloat16:
      return v1::EMBEDDING_TYPE_BFLOAT16;
    case Precision::kFloat32:
      break;
  }
  return v1::EMBEDDING_TYPE_FLOAT32;
}

void SetOptions(const EncodeOptions& options, v1::EncodeOptions* out) {
  switch (options.pooling) {
    case Pooling::kModelDefault:
      break;
    case Pooling::kMean:
      out->mutable_pooling()->mutable_mean();
      break;
    case Pooling::kFirstToken:
      out->mutable_pooling()->mutable_first_token();
      break;
    case Pooling::kNone:
      out->mutable_pooling()->mutable_none();
      break;
  }
  out->set_normalize(options.normalize);
  out->mutable_format()->set_type(ToType(options.precision));
  SetTruncation(options.truncation, out->mutable_truncation());
}

template <typename Request>
Request WithInputs(absl::Span<const Document> documents, const ModelId& model) {
  Request request;
  SetModel(model, request.mutable_model());
  for (const Document& document : documents) AddInput(document, request.add_inputs());
  return request;
}

absl::Status MalformedEmbedding(const v1::Embedding& embedding) {
  return absl::InternalError(absl::StrCat(
      "malformed embedding in the response: ", v1::EmbeddingType_Name(embedding.type()), ", ",
      embedding.shape_size(), " extents, ", embedding.data().size(), " bytes, ",
      embedding.values_size(), " values"));
}

// [rows, cols] of an embedding with one or two extents. False when there are others.
bool GetShape(const v1::Embedding& embedding, int64_t& rows, int64_t& cols) {
  if (embedding.shape_size() < 1 || embedding.shape_size() > 2) return false;
  rows = embedding.shape_size() == 2 ? embedding.shape(0) : 1;
  cols = embedding.shape(embedding.shape_size() - 1);
  constexpr int64_t kMaxElements = int64_t{1} << 40;
  return rows >= 0 && cols >= 0 && (rows == 0 || cols <= kMaxElements / rows);
}

EncodeResult FromResult(const v1::EncodeResult& result) {
  EncodeResult out;
  out.status = FromStatus(result.status());
  out.tokens = result.tokens();
  out.tokens_dropped = result.tokens_dropped();
  if (!out.status.ok()) return out;
  if (!GetShape(result.embedding(), out.rows, out.cols)) {
    out.status = MalformedEmbedding(result.embedding());
  } else {
    out.status = AppendElements(result.embedding(), out.values);
  }
  return out;
}

ClassifyResult FromResult(const v1::ClassifyResult& result) {
  ClassifyResult out;
  out.status = FromStatus(result.status());
  out.tokens = result.tokens();
  out.tokens_dropped = result.tokens_dropped();
  for (const v1::LabelScore& score : result.labels()) {
    out.labels.push_back({score.label(), score.index(), score.probability()});
  }
  return out;
}

template <typename Reply, typename Response>
absl::StatusOr<Reply> FromAnyResponse(const Response& response, size_t documents) {
  if (static_cast<size_t>(response.results_size()) != documents) {
    return absl::InternalError(absl::StrCat("the server answered ", response.results_size(),
                                            " results for ", documents, " documents"));
  }
  Reply reply;
  reply.results.reserve(documents);
  for (const auto& result : response.results()) reply.results.push_back(FromResult(result));
  reply.model = FromModelSpec(response.model());
  reply.usage = FromUsage(response.usage());
  reply.timing = FromTiming(response.timing());
  return reply;
}

}  // namespace

v1::EncodeRequest ToEncodeRequest(absl::Span<const Document> documents,
                                  const EncodeOptions& options) {
  auto request = WithInputs<v1::EncodeRequest>(documents, options.model);
  SetOptions(options, request.mutable_options());
  return request;
}

v1::EncodeStreamRequest ToEncodeStreamRequest(absl::Span<const Document> documents,
                                              const EncodeOptions& options) {
  auto request = WithInputs<v1::EncodeStreamRequest>(documents, options.model);
  SetOptions(options, request.mutable_options());
  return request;
}

v1::ClassifyRequest ToClassifyRequest(absl::Span<const Document> documents,
                                      const ClassifyOptions& options) {
  auto request = WithInputs<v1::ClassifyRequest>(documents, options.model);
  request.set_head(options.head);
  request.set_top_k(options.top_k);
  SetTruncation(options.truncation, request.mutable_truncation());
  return request;
}

absl::Status AppendElements(const v1::Embedding& embedding, std::vector<float>& values) {
  int64_t rows = 0, cols = 0;
  if (!GetShape(embedding, rows, cols)) return MalformedEmbedding(embedding);
  const auto elements = static_cast<size_t>(rows * cols);
  if (embedding.values_size() > 0) {
    if (static_cast<size_t>(embedding.values_size()) != elements) {
      return MalformedEmbedding(embedding);
    }
    values.insert(values.end(), embedding.values().begin(), embedding.values().end());
    return absl::OkStatus();
  }
  const std::string& data = embedding.data();
  const bool is_float32 = embedding.type() == v1::EMBEDDING_TYPE_FLOAT32;
  const bool is_float16 = embedding.type() == v1::EMBEDDING_TYPE_FLOAT16;
  if (!is_float32 && !is_float16 && embedding.type() != v1::EMBEDDING_TYPE_BFLOAT16) {
    return MalformedEmbedding(embedding);
  }
  if (data.size() != elements * (is_float32 ? 4 : 2)) return MalformedEmbedding(embedding);
  const size_t start = values.size();
  values.resize(start + elements);
  if (is_float32) {
    std::memcpy(values.data() + start, data.data(), data.size());
    return absl::OkStatus();
  }
  for (size_t i = 0; i < elements; ++i) {
    uint16_t bits;
    std::memcpy(&bits, data.data() + 2 * i, sizeof(bits));
    values[start + i] = is_float16 ? Float16ToFloat(bits) : Bfloat16ToFloat(bits);
  }
  return absl::OkStatus();
}

absl::StatusOr<EncodeReply> FromResponse(const v1::EncodeResponse& response, size_t documents) {
  return FromAnyResponse<EncodeReply>(response, documents);
}

absl::StatusOr<ClassifyReply> FromResponse(const v1::ClassifyResponse& response, size_t documents) {
  return FromAnyResponse<ClassifyReply>(response, documents);
}

absl::Status FromStatus(const v1::ResultStatus& status) {
  return {static_cast<absl::StatusCode>(status.code()), status.message()};
}

ModelId FromModelSpec(const v1::ModelSpec& spec) { return {spec.name(), spec.version()}; }

Usage FromUsage(const v1::Usage& usage) {
  return {usage.tokens(), usage.padded_tokens(), usage.inputs()};
}

Timing FromTiming(const v1::Timing& timing) {
  return {.queue = absl::Nanoseconds(timing.queue_ns()),
          .tokenize = absl::Nanoseconds(timing.tokenize_ns()),
          .compute = absl::Nanoseconds(timing.compute_ns()),
          .total = absl::Nanoseconds(timing.total_ns())};
}

ModelInfo FromModelInfo(const v1::ModelInfo& info) {
  ModelInfo out{.id = {info.name(), info.version()},
                .hidden_size = info.hidden_size(),
                .vocab_size = info.vocab_size(),
                .max_length = info.max_length(),
                .parameters = info.parameters(),
                .tokenizer = info.tokenizer(),
                .pooling = info.pooling(),
                .device = info.device(),
                .feature_map = info.feature_map(),
                .tasks = {info.tasks().begin(), info.tasks().end()}};
  for (const v1::ClassificationHead& head : info.heads()) {
    out.heads.push_back({head.name(), {head.labels().begin(), head.labels().end()}});
  }
  return out;
}

AttentionPlan FromAttentionPlan(const v1::AttentionPlan& plan) {
  AttentionPlan result;
  result.layers.assign(plan.layers().begin(), plan.layers().end());
  result.heads.assign(plan.heads().begin(), plan.heads().end());
  result.lengths.assign(plan.lengths().begin(), plan.lengths().end());
  result.algorithm = plan.algorithm();
  result.reason = plan.reason();
  result.error_bound = plan.error_bound();
  result.predicted_ms = plan.predicted_ms();
  return result;
}

}  // namespace longwave::client
