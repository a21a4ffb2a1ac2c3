#include "server/rpc/encode_stream_call.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "server/rpc/response_conversion.h"
#include "server/rpc/status.h"

namespace longwave {

EncodeStreamCall::EncodeStreamCall(const ServiceContext& service,
                                   const grpc::CallbackServerContext& context,
                                   const v1::EncodeStreamRequest& request)
    : service_(service), request_(request), scope_(service, Rpc::kEncodeStream, context) {}

grpc::ServerWriteReactor<v1::EncodeStreamResponse>* EncodeStreamCall::Start(
    std::shared_ptr<EncodeStreamCall> call) {
  EncodeStreamCall* const raw = call.get();
  raw->self_ = std::move(call);
  const absl::Status status = CatchExceptions([raw] { return raw->Admit(); });
  if (status.ok()) {
    raw->Drive();
  } else {
    raw->FinishWith(status);
  }
  return raw;
}

absl::Status EncodeStreamCall::Admit() {
  absl::Status status = scope_.CheckAdmitted();
  if (!status.ok()) return status;
  const v1::ModelSpec& spec = request_.model();
  absl::StatusOr<const ServedModel*> model = service_.catalog->Find(spec.name(), spec.version());
  if (!model.ok()) return model.status();
  model_ = *model;
  scope_.set_model(*model_);
  status = scope_.HoldBytes(static_cast<int64_t>(request_.ByteSizeLong()));
  if (!status.ok()) return status;
  status = scope_.caller().status();
  if (!status.ok()) return status;
  status = CheckInputCount(request_.inputs_size(), service_.limits.max_inputs);
  if (!status.ok()) return status;
  absl::StatusOr<RequestOptions> options = ConvertEncodeOptions(request_.options(), model_->info);
  if (!options.ok()) return options.status();
  options_ = *options;
  absl::StatusOr<int64_t> chunk = ConvertMaxChunkBytes(request_.max_chunk_bytes());
  if (!chunk.ok()) return chunk.status();
  max_chunk_bytes_ = *chunk;
  return FillWindow();
}

int64_t EncodeStreamCall::WindowBytes() const {
  absl::MutexLock lock(&mutex_);
  return window_bytes_;
}

absl::Status EncodeStreamCall::FillWindow() {
  const int64_t row_bytes = model_->info.hidden_size * static_cast<int64_t>(sizeof(float));
  for (; next_input_ < request_.inputs_size(); ++next_input_) {
    if (!staged_) {
      const absl::Time start = service_.clock->Now();
      absl::StatusOr<TokenSequence> sequence = TokenizeInput(
          request_.inputs(next_input_), next_input_, model_->model->tokenizer(), options_.length);
      staged_tokenize_ = service_.clock->Now() - start;
      tokenize_ += staged_tokenize_;
      if (!sequence.ok()) {
        ItemOutcome bad;
        bad.result.status = sequence.status();
        AddOutcome(next_input_, std::move(bad), staged_tokenize_);
        continue;
      }
      staged_ = *std::move(sequence);
    }
    const int64_t rows =
        options_.run.pooling == Pooling::kNone ? static_cast<int64_t>(staged_->ids.size()) : 1;
    const int64_t bytes = rows * row_bytes;
    const int64_t window = WindowBytes();
    if (window > 0 && window + bytes > service_.limits.max_response_bytes) break;
    TokenSequence sequence = *std::move(staged_);
    staged_.reset();
    absl::Status status = ScheduleInput(next_input_, std::move(sequence), bytes, staged_tokenize_);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status EncodeStreamCall::ScheduleInput(int index, TokenSequence sequence, int64_t bytes,
                                             absl::Duration tokenize) {
  bool first = false;
  {
    absl::MutexLock lock(&mutex_);
    first = closed_inputs_ == 0 && open_.empty();
    open_[index] = {0, bytes, tokenize};
    window_bytes_ += bytes;
  }
  CacheSlot slot(service_, *model_, WithTokens(options_.run, sequence));
  if (const std::shared_ptr<const RunResult> known = slot.Find(); known != nullptr) {
    const int64_t length = static_cast<int64_t>(sequence.ids.size());
    AddOutcome(index, {*known, length, sequence.tokens_dropped, {}}, tokenize);
    return absl::OkStatus();
  }
  WorkGroup group = scope_.NewGroup();
  group.items.push_back(std::make_unique<InferenceItem>(shared_from_this(), index,
                                                        std::move(sequence), options_.run, slot));
  absl::StatusOr<GroupId> id = model_->batcher->Schedule(std::move(group));
  if (!id.ok()) {
    // A full queue refuses a request that has got nothing in yet; later it fails only the input
    // that it met.
    const bool whole =
        ConcernsWholeRequest(id.status()) || (first && absl::IsResourceExhausted(id.status()));
    if (whole) return id.status();
    ItemOutcome refused;
    refused.result.status = id.status();
    AddOutcome(index, std::move(refused), tokenize);
    return absl::OkStatus();
  }
  bool cancelled = false;
  {
    absl::MutexLock lock(&mutex_);
    open_[index].group = *id;
    cancelled = cancelled_;
  }
  if (cancelled) model_->batcher->Cancel(*id);  // OnCancel() did not know of it
  return absl::OkStatus();
}

void EncodeStreamCall::AddOutcome(int index, ItemOutcome outcome, absl::Duration tokenize) {
  absl::MutexLock lock(&mutex_);
  done_.push_back({index, std::move(outcome), tokenize, 0});
}

void EncodeStreamCall::OnItemDone(int index, ItemOutcome outcome) {
  {
    absl::MutexLock lock(&mutex_);
    done_.push_back({index, std::move(outcome), open_[index].tokenize, 0});
    if (std::exchange(driving_, true)) return;
  }
  Drive();
}

void EncodeStreamCall::OnWriteDone(bool ok) {
  absl::Status status;
  if (!ok) {
    status = scope_.CancelledStatus();
  } else if (closing_->next_row >= closing_->outcome.result.rows) {
    CloseInput();
    status = CatchExceptions([this] { return FillWindow(); });
  }
  if (status.ok()) {
    Drive();
  } else {
    FinishWith(status);
  }
}

void EncodeStreamCall::CloseInput() {
  ++closed_inputs_;
  scope_.metrics().OnInputsDone(closing_->outcome.result.status.code(), 1);
  {
    absl::MutexLock lock(&mutex_);
    if (auto open = open_.find(closing_->index); open != open_.end()) {
      window_bytes_ -= open->second.bytes;
      open_.erase(open);
    }
  }
  closing_.reset();
}

void EncodeStreamCall::Drive() {
  bool finished = false;
  bool waiting = false;
  const absl::Status status = CatchExceptions([&]() -> absl::Status {
    bool first_chunk = false;
    {
      absl::MutexLock lock(&mutex_);
      if (cancelled_) return scope_.CancelledStatus();
      if (!closing_) {
        finished = closed_inputs_ == request_.inputs_size();
        waiting = !finished && done_.empty();
        if (waiting) driving_ = false;
        if (finished || waiting) return absl::OkStatus();
        closing_ = std::move(done_.front());
        done_.pop_front();
        first_chunk = true;
      }
    }
    absl::Status& outcome = closing_->outcome.result.status;
    if (ConcernsWholeRequest(outcome)) return outcome;
    if (first_chunk) outcome = scope_.LogIfInternal(outcome);
    WriteChunk();
    return absl::OkStatus();
  });
  if (waiting) return;  // another thread may be driving by now
  if (finished || !status.ok()) {
    FinishWith(status);
  } else {
    StartWrite(&response_);  // OnWriteDone() drives from here
  }
}

void EncodeStreamCall::WriteChunk() {
  const RunResult& result = closing_->outcome.result;
  response_.Clear();
  response_.set_input_index(closing_->index);
  *response_.mutable_status() = ToResultStatus(result.status);
  bool last = true;
  if (result.status.ok()) {
    const int64_t row_bytes = result.cols * options_.format.element_bytes();
    const int64_t first = closing_->next_row;
    const int64_t rows =
        std::min(result.rows - first,
                 std::max<int64_t>(1, max_chunk_bytes_ / std::max<int64_t>(1, row_bytes)));
    const auto values =
        absl::MakeConstSpan(result.values).subspan(first * result.cols, rows * result.cols);
    response_.set_row_offset(first);
    response_.set_total_rows(result.rows);
    WriteEmbedding(values, {rows, result.cols}, options_.format, response_.mutable_rows());
    closing_->next_row += rows;
    last = closing_->next_row == result.rows;
  } else {
    closing_->next_row = result.rows;
  }
  if (!last) return;
  const auto outcome = absl::MakeConstSpan(&closing_->outcome, 1);
  response_.set_last(true);
  *response_.mutable_usage() = MakeUsage(outcome);
  *response_.mutable_timing() = MakeTiming(outcome, closing_->tokenize, scope_.elapsed());
  *response_.mutable_model() = MakeModelSpec(*model_);
  response_.set_tokens_dropped(closing_->outcome.tokens_dropped);
}

std::vector<GroupId> EncodeStreamCall::ScheduledGroups() const {
  std::vector<GroupId> groups;
  for (const auto& [index, open] : open_) {
    if (open.group != 0) groups.push_back(open.group);
  }
  return groups;
}

void EncodeStreamCall::FinishWith(const absl::Status& status) {
  if (!status.ok()) {
    scope_.metrics().OnInputsDone(status.code(), request_.inputs_size() - closed_inputs_);
    std::vector<GroupId> groups;
    {
      absl::MutexLock lock(&mutex_);
      groups = ScheduledGroups();
    }
    for (const GroupId group : groups) model_->batcher->Cancel(group);
  }
  if (tokenize_ > absl::ZeroDuration()) scope_.metrics().OnTokenized(tokenize_);
  Finish(ToGrpcStatus(scope_.End(status)));  // gRPC may call OnDone() before this returns
}

void EncodeStreamCall::OnCancel() {
  std::vector<GroupId> groups;
  bool drive = false;
  {
    absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    groups = ScheduledGroups();
    drive = !std::exchange(driving_, true);
  }
  for (const GroupId group : groups) model_->batcher->Cancel(group);
  if (drive) Drive();
}

void EncodeStreamCall::OnDone() {
  scope_.Leave();
  self_.reset();  // may delete this
}

}  // namespace longwave
