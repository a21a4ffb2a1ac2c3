#ifndef LONGWAVE_SERVER_RPC_ENCODE_CALL_H_
#define LONGWAVE_SERVER_RPC_ENCODE_CALL_H_

#include "server/rpc/unary_call.h"

namespace longwave {

// One Encode request. See UnaryCall.
class EncodeCall final : public UnaryCall {
 public:
  // `request` and `response` are gRPC's.
  EncodeCall(const ServiceContext& service, const grpc::CallbackServerContext& context,
             const v1::EncodeRequest& request, v1::EncodeResponse* response);

 private:
  absl::StatusOr<RequestOptions> ConvertOptions(const ModelInfo& model) override;
  absl::Status CheckResponseSize(int64_t inputs, int64_t tokens) override;
  void WriteResponse(absl::Span<const ItemOutcome> outcomes) override;

  const v1::EncodeRequest& request_;
  v1::EncodeResponse* const response_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_ENCODE_CALL_H_
