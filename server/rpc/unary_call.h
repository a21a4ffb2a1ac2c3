#ifndef LONGWAVE_SERVER_RPC_UNARY_CALL_H_
#define LONGWAVE_SERVER_RPC_UNARY_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "longwave/v1/inference.pb.h"
#include "server/rpc/inference_item.h"
#include "server/rpc/request_conversion.h"
#include "server/rpc/request_scope.h"

namespace longwave {

// One unary request of several inputs, from its arrival to its answer: convert, schedule, finish.
// Subclasses say what is particular to their RPC.
//
// It is kept alive by gRPC until OnDone() and by each of its items until that is done, so results
// that come after a cancellation have somewhere to go. Exactly one of the last item and a
// cancellation finishes the call: whoever sets `claimed_`. The request and response messages are
// gRPC's and are touched only before that.
class UnaryCall : public grpc::ServerUnaryReactor,
                  public ItemSink,
                  public std::enable_shared_from_this<UnaryCall> {
 public:
  // Starts `call` and hands it to gRPC, which deletes it through OnDone(). Never blocks, never
  // throws.
  static grpc::ServerUnaryReactor* Start(std::shared_ptr<UnaryCall> call);

 protected:
  using Inputs = google::protobuf::RepeatedPtrField<v1::Input>;

  // `model` and `inputs` belong to the request message, whose size is `request_bytes`.
  UnaryCall(const ServiceContext& service, Rpc rpc, const grpc::CallbackServerContext& context,
            int64_t request_bytes, const v1::ModelSpec& model, const Inputs& inputs);

  // Checks the request's options against the model.
  virtual absl::StatusOr<RequestOptions> ConvertOptions(const ModelInfo& model) = 0;

  // Checks, before anything is computed, that a response for so many inputs with so many tokens is
  // allowed.
  virtual absl::Status CheckResponseSize(int64_t inputs, int64_t tokens) = 0;

  // Fills the response message. `outcomes` has one entry per input.
  virtual void WriteResponse(absl::Span<const ItemOutcome> outcomes) = 0;

  const ServedModel& model() const { return *model_; }
  const RequestOptions& options() const { return options_; }
  const RequestLimits& limits() const { return service_.limits; }
  v1::Timing Timing() const;

 private:
  void OnItemDone(int index, ItemOutcome outcome) override;
  void OnCancel() override;
  void OnDone() override;

  // Everything up to scheduling. On an error nothing has been scheduled.
  absl::Status Admit();
  // Turns the inputs into items; a bad one, and one whose result is known, gets its outcome at
  // once. Returns the sum of the good ones' tokens.
  int64_t Tokenize(WorkGroup& group);
  // All items are done.
  void Complete();
  void FinishWith(const absl::Status& status);

  const ServiceContext& service_;
  const int64_t request_bytes_;
  const v1::ModelSpec& spec_;
  const Inputs& inputs_;
  RequestScope scope_;

  const ServedModel* model_ = nullptr;
  RequestOptions options_;
  absl::Duration tokenize_;
  std::vector<ItemOutcome> outcomes_;  // each written by its item, read when none is pending
  std::atomic<int> pending_{0};
  std::atomic<GroupId> group_{0};
  std::atomic<bool> claimed_{false};
  std::shared_ptr<UnaryCall> self_;  // gRPC's share of the ownership
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_UNARY_CALL_H_
