#include "server/rpc/unary_call.h"

#include <utility>

#include "server/rpc/response_conversion.h"
#include "server/rpc/status.h"

namespace longwave {

grpc::ServerUnaryReactor* UnaryCall::Start(std::shared_ptr<UnaryCall> call) {
  UnaryCall* const raw = call.get();
  raw->self_ = std::move(call);
  const absl::Status status = CatchExceptions([raw] { return raw->Admit(); });
  if (!status.ok() && !raw->claimed_.exchange(true)) raw->FinishWith(status);
  return raw;
}

UnaryCall::UnaryCall(const ServiceContext& service, Rpc rpc,
                     const grpc::CallbackServerContext& context, int64_t request_bytes,
                     const v1::ModelSpec& model, const Inputs& inputs)
    : service_(service),
      request_bytes_(request_bytes),
      spec_(model),
      inputs_(inputs),
      scope_(service, rpc, context) {}

absl::Status UnaryCall::Admit() {
  absl::Status status = scope_.CheckAdmitted();
  if (!status.ok()) return status;
  absl::StatusOr<const ServedModel*> model = service_.catalog->Find(spec_.name(), spec_.version());
  if (!model.ok()) return model.status();
  model_ = *model;
  scope_.set_model(*model_);
  status = scope_.HoldBytes(request_bytes_);
  if (!status.ok()) return status;
  status = scope_.caller().status();
  if (!status.ok()) return status;
  status = CheckInputCount(inputs_.size(), limits().max_inputs);
  if (!status.ok()) return status;
  absl::StatusOr<RequestOptions> options = ConvertOptions(model_->info);
  if (!options.ok()) return options.status();
  options_ = *options;

  WorkGroup group = scope_.NewGroup();
  const int64_t tokens = Tokenize(group);
  status = CheckResponseSize(inputs_.size(), tokens);
  if (!status.ok()) return status;
  if (group.items.empty()) {
    claimed_ = true;
    Complete();
    return absl::OkStatus();
  }
  pending_ = static_cast<int>(group.items.size());
  absl::StatusOr<GroupId> id = model_->batcher->Schedule(std::move(group));
  if (!id.ok()) return id.status();
  group_ = *id;  // OnCancel() cannot come before gRPC has this reactor, which is later
  return absl::OkStatus();
}

int64_t UnaryCall::Tokenize(WorkGroup& group) {
  const absl::Time start = service_.clock->Now();
  const Tokenizer& tokenizer = model_->model->tokenizer();
  int64_t tokens = 0;
  outcomes_.resize(inputs_.size());
  group.items.reserve(inputs_.size());
  for (int i = 0; i < inputs_.size(); ++i) {
    absl::StatusOr<TokenSequence> sequence =
        TokenizeInput(inputs_[i], i, tokenizer, options_.length);
    if (!sequence.ok()) {
      outcomes_[i].result.status = sequence.status();
      continue;
    }
    const int64_t length = static_cast<int64_t>(sequence->ids.size());
    tokens += length;
    CacheSlot slot(service_, *model_, WithTokens(options_.run, *sequence));
    if (const std::shared_ptr<const RunResult> known = slot.Find(); known != nullptr) {
      outcomes_[i] = {*known, length, sequence->tokens_dropped, {}};
      continue;
    }
    group.items.push_back(std::make_unique<InferenceItem>(
        shared_from_this(), i, *std::move(sequence), options_.run, slot));
  }
  tokenize_ = service_.clock->Now() - start;
  scope_.metrics().OnTokenized(tokenize_);
  return tokens;
}

void UnaryCall::OnItemDone(int index, ItemOutcome outcome) {
  outcomes_[index] = std::move(outcome);
  if (pending_.fetch_sub(1) == 1 && !claimed_.exchange(true)) Complete();
}

void UnaryCall::Complete() {
  FinishWith(CatchExceptions([this] {
    for (const ItemOutcome& outcome : outcomes_) {
      if (ConcernsWholeRequest(outcome.result.status)) return outcome.result.status;
    }
    for (ItemOutcome& outcome : outcomes_) {
      outcome.result.status = scope_.LogIfInternal(outcome.result.status);
    }
    WriteResponse(outcomes_);
    for (const ItemOutcome& outcome : outcomes_) {
      scope_.metrics().OnInputsDone(outcome.result.status.code(), 1);
    }
    return absl::OkStatus();
  }));
}

void UnaryCall::FinishWith(const absl::Status& status) {
  if (!status.ok()) scope_.metrics().OnInputsDone(status.code(), inputs_.size());
  Finish(ToGrpcStatus(scope_.End(status)));  // gRPC may call OnDone() before this returns
}

v1::Timing UnaryCall::Timing() const { return MakeTiming(outcomes_, tokenize_, scope_.elapsed()); }

void UnaryCall::OnCancel() {
  // First the call, so that the items' endings find it claimed; then the items, so that they cost
  // no compute.
  if (!claimed_.exchange(true)) FinishWith(scope_.CancelledStatus());
  if (const GroupId id = group_; id != 0) model_->batcher->Cancel(id);
}

void UnaryCall::OnDone() {
  scope_.Leave();
  self_.reset();  // may delete this
}

}  // namespace longwave
