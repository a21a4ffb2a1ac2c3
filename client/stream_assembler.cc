#include "client/stream_assembler.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/convert.h"

namespace longwave::client {

StreamAssembler::StreamAssembler(size_t documents) : closed_(documents, false) {
  reply_.results.resize(documents);
}

absl::Status StreamAssembler::AddRows(const v1::EncodeStreamResponse& chunk, EncodeResult& result) {
  if (chunk.row_offset() != result.rows) {
    return absl::InternalError(absl::StrCat("input ", chunk.input_index(),
                                            ": a chunk starts at row ", chunk.row_offset(),
                                            ", expected ", result.rows));
  }
  const v1::Embedding& rows = chunk.rows();
  if (rows.shape_size() != 2 || (result.rows > 0 && rows.shape(1) != result.cols)) {
    return absl::InternalError(
        absl::StrCat("input ", chunk.input_index(), ": a chunk is not a matrix of the same width"));
  }
  absl::Status status = AppendElements(rows, result.values);
  if (!status.ok()) return status;
  result.rows += rows.shape(0);
  result.cols = rows.shape(1);
  if (chunk.last() && result.rows != chunk.total_rows()) {
    return absl::InternalError(absl::StrCat("input ", chunk.input_index(), ": ", result.rows,
                                            " rows came, expected ", chunk.total_rows()));
  }
  return absl::OkStatus();
}

absl::Status StreamAssembler::Add(const v1::EncodeStreamResponse& chunk) {
  const auto index = static_cast<size_t>(chunk.input_index());
  if (chunk.input_index() < 0 || index >= closed_.size() || closed_[index]) {
    return absl::InternalError(absl::StrCat("a chunk for input ", chunk.input_index(), " of ",
                                            closed_.size(), ", which is unknown or complete"));
  }
  EncodeResult& result = reply_.results[index];
  result.status = FromStatus(chunk.status());
  if (result.status.ok()) {
    absl::Status status = AddRows(chunk, result);
    if (!status.ok()) return status;
  }
  if (!chunk.last()) return absl::OkStatus();

  closed_[index] = true;
  result.tokens = chunk.usage().tokens();
  result.tokens_dropped = chunk.tokens_dropped();
  if (chunk.has_model()) reply_.model = FromModelSpec(chunk.model());
  const Usage usage = FromUsage(chunk.usage());
  reply_.usage.tokens += usage.tokens;
  reply_.usage.padded_tokens += usage.padded_tokens;
  reply_.usage.inputs += usage.inputs;
  const Timing timing = FromTiming(chunk.timing());
  reply_.timing.queue = std::max(reply_.timing.queue, timing.queue);
  reply_.timing.tokenize = std::max(reply_.timing.tokenize, timing.tokenize);
  reply_.timing.compute = std::max(reply_.timing.compute, timing.compute);
  reply_.timing.total = std::max(reply_.timing.total, timing.total);
  return absl::OkStatus();
}

absl::StatusOr<EncodeReply> StreamAssembler::Finish() {
  const auto open = std::count(closed_.begin(), closed_.end(), false);
  if (open > 0) {
    return absl::InternalError(
        absl::StrCat("the stream ended with ", open, " of ", closed_.size(), " inputs incomplete"));
  }
  return std::move(reply_);
}

}  // namespace longwave::client
