#include "server/rpc/inference_service.h"

#include <memory>

#include "server/rpc/classify_call.h"
#include "server/rpc/encode_call.h"
#include "server/rpc/encode_stream_call.h"

namespace longwave {

grpc::ServerUnaryReactor* InferenceService::Encode(grpc::CallbackServerContext* context,
                                                   const v1::EncodeRequest* request,
                                                   v1::EncodeResponse* response) {
  return UnaryCall::Start(std::make_shared<EncodeCall>(context_, *context, *request, response));
}

grpc::ServerWriteReactor<v1::EncodeStreamResponse>* InferenceService::EncodeStream(
    grpc::CallbackServerContext* context, const v1::EncodeStreamRequest* request) {
  return EncodeStreamCall::Start(std::make_shared<EncodeStreamCall>(context_, *context, *request));
}

grpc::ServerUnaryReactor* InferenceService::Classify(grpc::CallbackServerContext* context,
                                                     const v1::ClassifyRequest* request,
                                                     v1::ClassifyResponse* response) {
  return UnaryCall::Start(std::make_shared<ClassifyCall>(context_, *context, *request, response));
}

}  // namespace longwave
