#ifndef LONGWAVE_SERVER_RPC_MODEL_SERVICE_H_
#define LONGWAVE_SERVER_RPC_MODEL_SERVICE_H_

#include "longwave/v1/model.grpc.pb.h"
#include "server/rpc/model_catalog.h"

namespace longwave {

// The ModelService of model.proto. Thread-safe; answers while draining too. ListModels and
// GetModel answer at once; PlanAttention computes for some milliseconds, on gRPC's thread.
class ModelService final : public v1::ModelService::CallbackService {
 public:
  // `catalog` is not owned and must outlive this.
  explicit ModelService(const ModelCatalog* catalog) : catalog_(catalog) {}

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const v1::ListModelsRequest* request,
                                       v1::ListModelsResponse* response) override;

  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const v1::GetModelRequest* request,
                                     v1::GetModelResponse* response) override;

  grpc::ServerUnaryReactor* PlanAttention(grpc::CallbackServerContext* context,
                                          const v1::PlanAttentionRequest* request,
                                          v1::PlanAttentionResponse* response) override;

 private:
  absl::Status Plan(const v1::PlanAttentionRequest& request,
                    v1::PlanAttentionResponse& response) const;

  const ModelCatalog* const catalog_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_MODEL_SERVICE_H_
