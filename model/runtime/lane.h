#ifndef LONGWAVE_MODEL_RUNTIME_LANE_H_
#define LONGWAVE_MODEL_RUNTIME_LANE_H_

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/device/device.h"
#include "model/encoder/encoder.h"
#include "model/runtime/batch.h"
#include "model/runtime/graph_shape.h"
#include "model/runtime/model.h"
#include "model/runtime/output_plan.h"

namespace longwave {

// One stream of a device and what a run on it needs: staging memory of the host, and captured
// graphs of the small shapes that come again and again. Thread-compatible. For .cc files only: it
// shows torch types.
class Lane {
 public:
  // The device and the encoder are not owned and must outlive the lane. graph_tokens: batches of up
  // to so many tokens become graphs; 0: none.
  static absl::StatusOr<std::unique_ptr<Lane>> Create(Device* device, const Encoder* encoder,
                                                      StreamPriority priority,
                                                      int64_t graph_tokens);

  // Waits for the stream.
  ~Lane();

  // Runs the batch and fills the results of its sequences; blocks until they are there.
  // `checkpoint`, when not null, is called again and again while the device works, never more than
  // a millisecond or two of work ahead of it, and when it last returned true, once the device is
  // done with all that was queued. What it throws comes out of here once the device has stopped.
  // Call it in inference mode. May throw c10::Error.
  absl::Status Run(const PackedBatch& batch, absl::Span<const RunItem> items,
                   const std::function<bool()>& checkpoint, absl::Span<RunResult> results);

 private:
  // What a run needs on the device, with room for so many.
  struct Inputs {
    at::Tensor all;      // so that one copy fills them
    at::Tensor spans;    // int64 [sequences, 2], of the rows to pool, by group
    at::Tensor offsets;  // int32 [sequences + 1]
    at::Tensor ids;      // int32 [tokens]
  };

  // A forward pass as a graph, with the memory that it reads and writes.
  struct Captured {
    int runs = 0;         // of batches of the shape
    bool failed = false;  // it cannot be captured
    Inputs inputs;
    at::Tensor hidden;
    std::unique_ptr<Graph> graph;
  };

  Lane(Device* device, const Encoder* encoder, std::unique_ptr<Stream> stream,
       int64_t graph_tokens);

  // Queues everything from the ids to pooled rows.
  absl::Status Launch(const PackedBatch& batch, const OutputPlan& plan,
                      const std::function<bool()>& checkpoint);
  absl::Status Forward(const PackedBatch& batch, const OutputPlan& plan,
                       const std::function<bool()>& checkpoint);
  absl::Status ForwardAsGraph(const PackedBatch& batch, const OutputPlan& plan,
                              const GraphShape& shape, Captured& captured);
  Inputs AllocateInputs(const GraphShape& shape) const;
  void Upload(const PackedBatch& batch, const OutputPlan& plan, const GraphShape& shape,
              Inputs& inputs);

  // The shape's entry when a graph of it pays: not for the first batch of a shape.
  Captured* FindCaptured(const GraphShape& shape);

  absl::Status Download(const OutputPlan& plan, absl::Span<const RunItem> items,
                        absl::Span<RunResult> results);
  absl::Status DownloadTokens(const TokenRows& tokens, bool normalize, RunResult& result);

  // Waits for the stream and forgets the run.
  void Finish();
  void Forget();

  Device* const device_;
  const Encoder* const encoder_;
  const std::unique_ptr<Stream> stream_;
  const int64_t graph_tokens_;
  std::unique_ptr<PinnedBuffer> upload_;
  std::unique_ptr<PinnedBuffer> download_;

  // Of the run that is under way.
  at::Tensor hidden_;               // [tokens or more, E]
  at::Tensor spans_;                // int64 [rows or more, 2], by group
  std::vector<int64_t> longest_;    // span, by group
  std::vector<at::Tensor> pooled_;  // float32 [rows, cols], by group

  std::map<GraphShape, Captured> graphs_;
  std::list<GraphShape> recent_;  // the shapes in graphs_, least recently used first
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_LANE_H_
