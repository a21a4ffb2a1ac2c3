#ifndef LONGWAVE_SERVER_RPC_INFERENCE_SERVICE_H_
#define LONGWAVE_SERVER_RPC_INFERENCE_SERVICE_H_

#include "longwave/v1/inference.grpc.pb.h"
#include "server/rpc/service_context.h"

namespace longwave {

// The InferenceService of inference.proto. Each method hands its request to a call object of its
// own and returns at once. Thread-safe.
class InferenceService final : public v1::InferenceService::CallbackService {
 public:
  // What `context` points to must outlive the gRPC server and the batchers; so must this service.
  explicit InferenceService(const ServiceContext& context) : context_(context) {}

  grpc::ServerUnaryReactor* Encode(grpc::CallbackServerContext* context,
                                   const v1::EncodeRequest* request,
                                   v1::EncodeResponse* response) override;

  grpc::ServerWriteReactor<v1::EncodeStreamResponse>* EncodeStream(
      grpc::CallbackServerContext* context, const v1::EncodeStreamRequest* request) override;

  grpc::ServerUnaryReactor* Classify(grpc::CallbackServerContext* context,
                                     const v1::ClassifyRequest* request,
                                     v1::ClassifyResponse* response) override;

 private:
  const ServiceContext context_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_INFERENCE_SERVICE_H_
