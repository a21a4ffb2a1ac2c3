#include "server/rpc/encode_call.h"

#include "server/rpc/response_conversion.h"

namespace longwave {

EncodeCall::EncodeCall(const ServiceContext& service, const grpc::CallbackServerContext& context,
                       const v1::EncodeRequest& request, v1::EncodeResponse* response)
    : UnaryCall(service, Rpc::kEncode, context, static_cast<int64_t>(request.ByteSizeLong()),
                request.model(), request.inputs()),
      request_(request),
      response_(response) {}

absl::StatusOr<RequestOptions> EncodeCall::ConvertOptions(const ModelInfo& model) {
  return ConvertEncodeOptions(request_.options(), model);
}

absl::Status EncodeCall::CheckResponseSize(int64_t inputs, int64_t tokens) {
  const int64_t rows = options().run.pooling == Pooling::kNone ? tokens : inputs;
  return CheckEncodeResponseSize(rows, inputs, model().info.hidden_size, options().format,
                                 limits().max_response_bytes);
}

void EncodeCall::WriteResponse(absl::Span<const ItemOutcome> outcomes) {
  response_->mutable_results()->Reserve(static_cast<int>(outcomes.size()));
  for (const ItemOutcome& outcome : outcomes) {
    WriteEncodeResult(outcome, options(), response_->add_results());
  }
  *response_->mutable_model() = MakeModelSpec(model());
  *response_->mutable_usage() = MakeUsage(outcomes);
  *response_->mutable_timing() = Timing();
}

}  // namespace longwave
