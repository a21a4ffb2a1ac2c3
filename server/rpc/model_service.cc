#include "server/rpc/model_service.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "server/rpc/request_scope.h"
#include "server/rpc/response_conversion.h"
#include "server/rpc/status.h"

namespace longwave {
namespace {

// As model.proto says.
constexpr int kMaxPlanLengths = 64;

}  // namespace

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

grpc::ServerUnaryReactor* ModelService::PlanAttention(grpc::CallbackServerContext* context,
                                                      const v1::PlanAttentionRequest* request,
                                                      v1::PlanAttentionResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(CatchExceptions([&] { return Plan(*request, *response); })));
  return reactor;
}

absl::Status ModelService::Plan(const v1::PlanAttentionRequest& request,
                                v1::PlanAttentionResponse& response) const {
  if (request.name().empty()) return absl::InvalidArgumentError("name: required");
  if (request.lengths().empty() || request.lengths_size() > kMaxPlanLengths) {
    return absl::InvalidArgumentError(absl::StrCat("lengths: found ", request.lengths_size(),
                                                   ", expected 1 to ", kMaxPlanLengths));
  }
  const absl::StatusOr<const ServedModel*> model =
      catalog_->Find(request.name(), request.version());
  if (!model.ok()) return model.status();
  const int64_t max_length = (*model)->info.max_length;
  for (const int64_t length : request.lengths()) {
    if (length >= 1 && length <= max_length) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("lengths: found ", length, ", expected 1 to ", max_length, " tokens"));
  }
  const absl::StatusOr<std::vector<AttentionPlan>> plans =
      (*model)->model->PlanAttention(request.lengths());
  if (!plans.ok()) return plans.status();
  for (const AttentionPlan& plan : *plans) *response.add_plans() = MakeAttentionPlan(plan);
  return absl::OkStatus();
}

}  // namespace longwave
