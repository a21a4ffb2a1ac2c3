#include "model/runtime/lane.h"

#include <ATen/Functions.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <numeric>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "model/attention/checkpoint.h"
#include "model/device/torch_device.h"
#include "model/encoder/operators.h"
#include "model/encoder/pooling.h"
#include "model/runtime/store_rows.h"

namespace longwave {
namespace {

// Checkpoints that the host may be ahead of the device: enough work for the device never to wait,
// and little for others to wait for.
constexpr size_t kCheckpointsAhead = 1;

// Shapes whose graphs are kept.
constexpr size_t kMaxGraphs = 128;

// Of vectors of single tokens, which may be many: bytes that travel at a time.
constexpr int64_t kPartBytes = int64_t{8} << 20;

constexpr int64_t kInt = sizeof(int32_t);
constexpr int64_t kFloat = sizeof(float);

// Grows the buffer to so many bytes; its contents are lost.
absl::Status Reserve(Device& device, int64_t bytes, std::unique_ptr<PinnedBuffer>& buffer) {
  if (buffer != nullptr && buffer->size() >= bytes) return absl::OkStatus();
  buffer.reset();
  absl::StatusOr<std::unique_ptr<PinnedBuffer>> larger = device.AllocatePinned(bytes);
  if (!larger.ok()) return larger.status();
  buffer = *std::move(larger);
  return absl::OkStatus();
}

// Spans are pairs of int64.
constexpr int64_t kSpanInts = 4;

int64_t InputInts(const GraphShape& shape) {
  return kSpanInts * shape.sequences + shape.sequences + 1 + shape.tokens;
}

GraphShape ShapeOf(const PackedBatch& batch) {
  return {static_cast<int64_t>(batch.ids.size()), static_cast<int64_t>(batch.lengths.size()),
          *std::max_element(batch.lengths.begin(), batch.lengths.end())};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Lane>> Lane::Create(Device* device, const Encoder* encoder,
                                                   StreamPriority priority, int64_t graph_tokens) {
  absl::StatusOr<std::unique_ptr<Stream>> stream = device->CreateStream(priority);
  if (!stream.ok()) return stream.status();
  return std::unique_ptr<Lane>(new Lane(device, encoder, *std::move(stream), graph_tokens));
}

Lane::Lane(Device* device, const Encoder* encoder, std::unique_ptr<Stream> stream,
           int64_t graph_tokens)
    : device_(device), encoder_(encoder), stream_(std::move(stream)), graph_tokens_(graph_tokens) {}

Lane::~Lane() { Finish(); }

void Lane::Finish() {
  stream_->Synchronize().IgnoreError();
  Forget();
}

void Lane::Forget() {
  hidden_.reset();
  spans_.reset();
  longest_.clear();
  pooled_.clear();
}

absl::Status Lane::Run(const PackedBatch& batch, absl::Span<const RunItem> items,
                       const std::function<bool()>& checkpoint, absl::Span<RunResult> results) {
  // However the run ends, the device must be done with the staging memory before the next one.
  absl::Cleanup finish = [this] { Finish(); };
  const OutputPlan plan = PlanOutputs(encoder_->config(), batch, items);
  absl::Status status = stream_->Run([&] { return Launch(batch, plan, checkpoint); });
  if (!status.ok()) return status;
  status = Download(plan, items, results);
  if (status.ok()) {
    std::move(finish).Cancel();
    Forget();  // Download() has waited for all that was queued
  }
  return status;
}

absl::Status Lane::Launch(const PackedBatch& batch, const OutputPlan& plan,
                          const std::function<bool()>& checkpoint) {
  const GraphShape exact = ShapeOf(batch);
  const std::optional<GraphShape> shape = GraphShapeFor(exact, graph_tokens_);
  absl::Status status = Reserve(*device_, InputInts(shape.value_or(exact)) * kInt, upload_);
  if (!status.ok()) return status;

  Captured* const captured = shape.has_value() ? FindCaptured(*shape) : nullptr;
  status = captured != nullptr ? ForwardAsGraph(batch, plan, *shape, *captured)
                               : Forward(batch, plan, checkpoint);
  if (!status.ok()) return status;

  int64_t row = 0;
  for (size_t i = 0; i < plan.groups.size(); ++i) {
    const PooledGroup& group = plan.groups[i];
    const auto count = static_cast<int64_t>(group.rows.size());
    at::Tensor pooled = encoder::SpanMeans(hidden_, spans_.narrow(0, row, count), longest_[i]);
    row += count;
    if (group.head != PooledGroup::kEmbedding) pooled = encoder_->Classify(group.head, pooled);
    pooled_.push_back(pooled.contiguous());
  }
  return absl::OkStatus();
}

absl::Status Lane::Forward(const PackedBatch& batch, const OutputPlan& plan,
                           const std::function<bool()>& checkpoint) {
  const GraphShape shape = ShapeOf(batch);
  Inputs inputs = AllocateInputs(shape);
  Upload(batch, plan, shape, inputs);
  std::deque<std::unique_ptr<Event>> ahead;
  bool crowded = false;
  absl::Status status;
  const attention::CheckpointScope scope(checkpoint == nullptr ? std::function<void()>() : [&] {
    absl::StatusOr<std::unique_ptr<Event>> event = stream_->Record();
    status.Update(event.status());
    if (!status.ok()) return;
    ahead.push_back(*std::move(event));
    while (ahead.size() > (crowded ? 0 : kCheckpointsAhead)) {
      status.Update(ahead.front()->Wait());
      ahead.pop_front();
    }
    crowded = checkpoint();
  });
  hidden_ = encoder_->Forward(inputs.ids, {batch.lengths, inputs.offsets});
  return status;
}

absl::Status Lane::ForwardAsGraph(const PackedBatch& batch, const OutputPlan& plan,
                                  const GraphShape& shape, Captured& captured) {
  if (captured.graph != nullptr) {
    Upload(batch, plan, shape, captured.inputs);
    hidden_ = captured.hidden;
    return captured.graph->Replay();
  }
  const Inputs inputs = captured.inputs = AllocateInputs(shape);
  Upload(batch, plan, shape, captured.inputs);
  const PackedSequences any{CaptureLengths(shape), inputs.offsets};
  // Once without a graph: what is made on first use must not be made in the capture. Nothing is
  // there to be read from it: outside of a capture lengths are taken at their word, and these are
  // not the batch's.
  encoder_->Forward(inputs.ids, any);
  absl::StatusOr<std::unique_ptr<Graph>> graph = stream_->Capture([&] {
    captured.hidden = encoder_->Forward(inputs.ids, any);
    return absl::OkStatus();
  });
  if (graph.ok()) {
    captured.graph = *std::move(graph);
    hidden_ = captured.hidden;
    return captured.graph->Replay();
  }
  captured = Captured{captured.runs, /*failed=*/true, {}, {}, nullptr};
  const GraphShape exact = ShapeOf(batch);
  hidden_ = encoder_->Forward(inputs.ids.narrow(0, 0, exact.tokens),
                              {batch.lengths, inputs.offsets.narrow(0, 0, exact.sequences + 1)});
  return absl::OkStatus();
}

Lane::Captured* Lane::FindCaptured(const GraphShape& shape) {
  const auto [entry, inserted] = graphs_.try_emplace(shape);
  if (!inserted) recent_.remove(shape);
  recent_.push_back(shape);
  if (graphs_.size() > kMaxGraphs) {
    graphs_.erase(recent_.front());
    recent_.pop_front();
  }
  Captured& captured = entry->second;
  return ++captured.runs > 1 && !captured.failed ? &captured : nullptr;
}

Lane::Inputs Lane::AllocateInputs(const GraphShape& shape) const {
  const int64_t spans = kSpanInts * shape.sequences;
  Inputs inputs;
  inputs.all =
      at::empty({InputInts(shape)}, at::TensorOptions(at::kInt).device(encoder_->device()));
  inputs.spans = inputs.all.narrow(0, 0, spans).view(at::kLong).view({shape.sequences, 2});
  inputs.offsets = inputs.all.narrow(0, spans, shape.sequences + 1);
  inputs.ids = inputs.all.narrow(0, spans + shape.sequences + 1, shape.tokens);
  return inputs;
}

void Lane::Upload(const PackedBatch& batch, const OutputPlan& plan, const GraphShape& shape,
                  Inputs& inputs) {
  auto* const spans = static_cast<int64_t*>(upload_->data());
  int64_t* row = spans;
  for (const PooledGroup& group : plan.groups) {
    longest_.push_back(WriteSpans(group.rows, row));
    row += 2 * group.rows.size();
  }
  // Sequences that want no row, and those that the shape has and the batch has not.
  std::fill(row, spans + 2 * shape.sequences, 0);
  spans_ = inputs.spans;

  auto* const staged = static_cast<int32_t*>(upload_->data());
  int32_t* next = staged + kSpanInts * shape.sequences;
  *next++ = 0;
  int32_t* const ids = next + shape.sequences;
  next = std::partial_sum(batch.lengths.begin(), batch.lengths.end(), next);
  // Sequences that the shape has and the batch has not are empty; ids behind the last are any.
  std::fill(next, ids, static_cast<int32_t>(batch.ids.size()));
  int32_t* const end = std::copy(batch.ids.begin(), batch.ids.end(), ids);
  std::fill(end, ids + shape.tokens, 0);
  inputs.all.copy_(at::from_blob(staged, {InputInts(shape)}, at::kInt), /*non_blocking=*/true);
}

absl::Status Lane::Download(const OutputPlan& plan, absl::Span<const RunItem> items,
                            absl::Span<RunResult> results) {
  int64_t floats = 0;
  for (const at::Tensor& rows : pooled_) floats += rows.numel();
  absl::Status status = Reserve(*device_, floats * kFloat, download_);
  if (!status.ok()) return status;
  status = stream_->Run([&] {
    auto* target = static_cast<float*>(download_->data());
    for (const at::Tensor& rows : pooled_) {
      at::from_blob(target, rows.sizes(), at::kFloat).copy_(rows, /*non_blocking=*/true);
      target += rows.numel();
    }
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  const absl::StatusOr<std::unique_ptr<Event>> done = stream_->Record();
  if (!done.ok()) return done.status();
  if (status = (*done)->Wait(); !status.ok()) return status;

  const auto* source = static_cast<const float*>(download_->data());
  for (size_t i = 0; i < plan.groups.size(); ++i) {
    const PooledGroup& group = plan.groups[i];
    const auto cols = static_cast<size_t>(pooled_[i].size(1));
    for (const size_t item : group.items) {
      StoreRows({source, cols}, static_cast<int64_t>(cols), Normalizes(group, items[item]),
                results[item]);
      source += cols;
    }
  }
  for (const TokenRows& tokens : plan.tokens) {
    status = DownloadTokens(tokens, items[tokens.item].normalize, results[tokens.item]);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status Lane::DownloadTokens(const TokenRows& tokens, bool normalize, RunResult& result) {
  const int64_t cols = hidden_.size(1);
  const int64_t part = std::max<int64_t>(1, kPartBytes / (cols * kFloat));
  absl::Status status = Reserve(*device_, std::min(part, tokens.length) * cols * kFloat, download_);
  if (!status.ok()) return status;
  ReserveRows(tokens.length, cols, result);
  for (int64_t row = 0; row < tokens.length; row += part) {
    const int64_t rows = std::min(part, tokens.length - row);
    status = stream_->Run([&] {
      at::from_blob(download_->data(), {rows, cols}, at::kFloat)
          .copy_(hidden_.narrow(0, tokens.begin + row, rows).to(at::kFloat),
                 /*non_blocking=*/true);
      return absl::OkStatus();
    });
    if (status.ok()) status = stream_->Synchronize();
    if (!status.ok()) return status;
    StorePart({static_cast<const float*>(download_->data()), static_cast<size_t>(rows * cols)}, row,
              normalize, result);
  }
  return absl::OkStatus();
}

}  // namespace longwave
