#include "server/rpc/classify_call.h"

#include "server/rpc/response_conversion.h"

namespace longwave {

ClassifyCall::ClassifyCall(const ServiceContext& service,
                           const grpc::CallbackServerContext& context,
                           const v1::ClassifyRequest& request, v1::ClassifyResponse* response)
    : UnaryCall(service, Rpc::kClassify, context, static_cast<int64_t>(request.ByteSizeLong()),
                request.model(), request.inputs()),
      request_(request),
      response_(response) {}

absl::StatusOr<RequestOptions> ClassifyCall::ConvertOptions(const ModelInfo& model) {
  return ConvertClassifyOptions(request_, model);
}

absl::Status ClassifyCall::CheckResponseSize(int64_t inputs, int64_t /*tokens*/) {
  return CheckClassifyResponseSize(inputs, options().top_k, model().info.heads[options().run.head],
                                   limits().max_response_bytes);
}

void ClassifyCall::WriteResponse(absl::Span<const ItemOutcome> outcomes) {
  const HeadInfo& head = model().info.heads[options().run.head];
  response_->mutable_results()->Reserve(static_cast<int>(outcomes.size()));
  for (const ItemOutcome& outcome : outcomes) {
    WriteClassifyResult(outcome, options(), head, response_->add_results());
  }
  *response_->mutable_model() = MakeModelSpec(model());
  *response_->mutable_usage() = MakeUsage(outcomes);
  *response_->mutable_timing() = Timing();
}

}  // namespace longwave
