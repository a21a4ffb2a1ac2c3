#ifndef LONGWAVE_SERVER_RPC_ENCODE_STREAM_CALL_H_
#define LONGWAVE_SERVER_RPC_ENCODE_STREAM_CALL_H_

#include <grpcpp/support/server_callback.h>

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "longwave/v1/inference.pb.h"
#include "server/rpc/inference_item.h"
#include "server/rpc/request_conversion.h"
#include "server/rpc/request_scope.h"

namespace longwave {

// One EncodeStream request: answers of any size, in chunks of whole rows, in bounded memory.
//
// Flow control: inputs are scheduled only while the results that are being computed or wait to be
// sent fit into a window (RequestLimits::max_response_bytes, at least one input), so a slow client
// holds a window and not its whole answer.
//
// Threads: at any time at most one of them drives the call, that is fills the window, writes and
// finishes. Who sets `driving_` drives; the role stays with a write that is under way and passes to
// its OnWriteDone(). Items that end meanwhile only leave their outcome. After the call has finished
// nobody drives again, so gRPC's messages are not touched any more.
class EncodeStreamCall final : public grpc::ServerWriteReactor<v1::EncodeStreamResponse>,
                               public ItemSink,
                               public std::enable_shared_from_this<EncodeStreamCall> {
 public:
  // `request` is gRPC's.
  EncodeStreamCall(const ServiceContext& service, const grpc::CallbackServerContext& context,
                   const v1::EncodeStreamRequest& request);

  // Starts `call` and hands it to gRPC, which deletes it through OnDone(). Never blocks, never
  // throws.
  static grpc::ServerWriteReactor<v1::EncodeStreamResponse>* Start(
      std::shared_ptr<EncodeStreamCall> call);

 private:
  // An input whose outcome is known and that is to be written.
  struct Closing {
    int index = 0;
    ItemOutcome outcome;
    absl::Duration tokenize;
    int64_t next_row = 0;
  };
  // An input that takes part of the window: scheduled, or waiting to be written.
  struct Open {
    GroupId group = 0;  // 0 until scheduled
    int64_t bytes = 0;
    absl::Duration tokenize;
  };

  void OnItemDone(int index, ItemOutcome outcome) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  // The following are for the thread that drives.
  absl::Status Admit();
  // Schedules inputs while the window has room. An error ends the request.
  absl::Status FillWindow();
  absl::Status ScheduleInput(int index, TokenSequence sequence, int64_t bytes,
                             absl::Duration tokenize);
  // Starts the next write, finishes the call, or stops driving until an item is done.
  void Drive();
  // Fills `response_` with the next chunk of `closing_`.
  void WriteChunk();
  void CloseInput();
  void FinishWith(const absl::Status& status);

  void AddOutcome(int index, ItemOutcome outcome, absl::Duration tokenize)
      ABSL_LOCKS_EXCLUDED(mutex_);
  int64_t WindowBytes() const ABSL_LOCKS_EXCLUDED(mutex_);
  std::vector<GroupId> ScheduledGroups() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const ServiceContext& service_;
  const v1::EncodeStreamRequest& request_;
  RequestScope scope_;

  // Constant once started.
  const ServedModel* model_ = nullptr;
  RequestOptions options_;
  int64_t max_chunk_bytes_ = 0;

  // Of the thread that drives.
  v1::EncodeStreamResponse response_;
  std::optional<Closing> closing_;
  std::optional<TokenSequence> staged_;  // the next input, when the window had no room for it
  absl::Duration staged_tokenize_;
  absl::Duration tokenize_;  // of all inputs so far
  int next_input_ = 0;
  int closed_inputs_ = 0;

  mutable absl::Mutex mutex_;
  bool driving_ ABSL_GUARDED_BY(mutex_) = true;  // the handler's thread begins
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<Closing> done_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<int, Open> open_ ABSL_GUARDED_BY(mutex_);
  int64_t window_bytes_ ABSL_GUARDED_BY(mutex_) = 0;  // of all in `open_`

  std::shared_ptr<EncodeStreamCall> self_;  // gRPC's share of the ownership
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_ENCODE_STREAM_CALL_H_
