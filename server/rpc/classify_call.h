#ifndef LONGWAVE_SERVER_RPC_CLASSIFY_CALL_H_
#define LONGWAVE_SERVER_RPC_CLASSIFY_CALL_H_

#include "server/rpc/unary_call.h"

namespace longwave {

// One Classify request. See UnaryCall.
class ClassifyCall final : public UnaryCall {
 public:
  // `request` and `response` are gRPC's.
  ClassifyCall(const ServiceContext& service, const grpc::CallbackServerContext& context,
               const v1::ClassifyRequest& request, v1::ClassifyResponse* response);

 private:
  absl::StatusOr<RequestOptions> ConvertOptions(const ModelInfo& model) override;
  absl::Status CheckResponseSize(int64_t inputs, int64_t tokens) override;
  void WriteResponse(absl::Span<const ItemOutcome> outcomes) override;

  const v1::ClassifyRequest& request_;
  v1::ClassifyResponse* const response_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_CLASSIFY_CALL_H_
