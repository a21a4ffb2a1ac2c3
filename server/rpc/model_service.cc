#include "server/rpc/model_service.h"

#include "server/rpc/response_conversion.h"
#include "server/rpc/status.h"

namespace longwave {

grpc::ServerUnaryReactor* ModelService::ListModels(grpc::CallbackServerContext* context,
                                                   const v1::ListModelsRequest* /*request*/,
                                                   v1::ListModelsResponse* response) {
  for (const ServedModel& model : catalog_->models()) {
    *response->add_models() = MakeModelInfo(model);
  }
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerUnaryReactor* ModelService::GetModel(grpc::CallbackServerContext* context,
                                                 const v1::GetModelRequest* request,
                                                 v1::GetModelResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (request->name().empty()) {
    reactor->Finish(ToGrpcStatus(absl::InvalidArgumentError("name: required")));
    return reactor;
  }
  absl::StatusOr<const ServedModel*> model = catalog_->Find(request->name(), request->version());
  if (model.ok()) *response->mutable_model() = MakeModelInfo(**model);
  reactor->Finish(ToGrpcStatus(model.status()));
  return reactor;
}

}  // namespace longwave
