#include "client/cli/sender.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"

namespace longwave::client {
namespace {

// Whether another request would fail in the same way.
bool FailsEveryRequest(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kUnimplemented:
      return true;
    default:
      return false;
  }
}

// Gathers answers from the threads that they arrive on. Thread-safe.
template <typename Reply>
class Collector {
 public:
  Collector(size_t inputs, Progress& progress) : progress_(progress) {
    answers_.outcomes.resize(inputs);
  }

  // The content of input `index` was read.
  void SetBytes(size_t index, int64_t bytes) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    answers_.outcomes[index].bytes = bytes;
  }

  // Input `index` failed before it was sent.
  void Fail(size_t index, absl::Status status) ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    answers_.outcomes[index].result.status = std::move(status);
    progress_.Advance(0);
  }

  void RequestStarted() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    ++under_way_;
  }

  // The request that carried the inputs `indices` has ended.
  void RequestEnded(const std::vector<size_t>& indices, absl::StatusOr<Reply> reply)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    for (size_t i = 0; i < indices.size(); ++i) {
      auto& outcome = answers_.outcomes[indices[i]];
      if (reply.ok()) {
        outcome.result = std::move(reply->results[i]);
        outcome.round_trip = reply->timing.round_trip;
      } else {
        outcome.result.status = reply.status();
      }
      progress_.Advance(outcome.bytes);
    }
    if (reply.ok()) {
      answers_.model = reply->model;
      answers_.usage.tokens += reply->usage.tokens;
      answers_.usage.padded_tokens += reply->usage.padded_tokens;
      answers_.usage.inputs += reply->usage.inputs;
    } else if (indices.front() < first_failed_) {
      first_failed_ = indices.front();
      answers_.failure = reply.status();
    }
    --under_way_;
  }

  // The failure that makes it pointless to send more, if there was one.
  absl::Status Obstacle() const ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    return FailsEveryRequest(answers_.failure) ? answers_.failure : absl::OkStatus();
  }

  // Blocks until every request has ended.
  Answers<Reply> Finish() ABSL_LOCKS_EXCLUDED(mutex_) {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &Collector::IsIdle));
    return std::move(answers_);
  }

 private:
  bool IsIdle() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return under_way_ == 0; }

  mutable absl::Mutex mutex_;
  Progress& progress_ ABSL_GUARDED_BY(mutex_);
  Answers<Reply> answers_ ABSL_GUARDED_BY(mutex_);
  size_t first_failed_ ABSL_GUARDED_BY(mutex_) = std::numeric_limits<size_t>::max();
  int under_way_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace

template <typename Reply>
Answers<Reply> SendAll(const std::vector<InputSource>& sources, const SendOptions& options,
                       std::istream& in, Progress& progress, const Send<Reply>& send) {
  const absl::Time start = absl::Now();
  Collector<Reply> collector(sources.size(), progress);
  RequestPacker packer(options.packer);
  std::vector<size_t> packed;

  const auto flush = [&] {
    if (packer.empty()) return;
    collector.RequestStarted();
    send(packer.Take(),
         [&collector, indices = std::exchange(packed, {})](absl::StatusOr<Reply> reply) {
           collector.RequestEnded(indices, std::move(reply));
         });
  };

  for (size_t i = 0; i < sources.size(); ++i) {
    absl::Status obstacle = collector.Obstacle();
    if (!obstacle.ok()) {
      collector.Fail(i, std::move(obstacle));
      continue;
    }
    absl::StatusOr<std::string> content = ReadInput(sources[i], options.max_bytes(), in);
    if (!content.ok()) {
      collector.Fail(i, content.status());
      continue;
    }
    collector.SetBytes(i, static_cast<int64_t>(content->size()));
    const bool is_literal = sources[i].kind == InputSource::Kind::kLiteral;
    absl::StatusOr<Document> document =
        ToDocument(*std::move(content), is_literal ? options.literal_kind : options.file_kind);
    if (!document.ok()) {
      collector.Fail(i, document.status());
      continue;
    }
    if (!packer.Fits(*document)) flush();
    absl::Status added = packer.Add(*std::move(document));
    if (added.ok()) {
      packed.push_back(i);
    } else {
      collector.Fail(i, std::move(added));
    }
  }
  flush();
  Answers<Reply> answers = collector.Finish();
  answers.elapsed = absl::Now() - start;
  return answers;
}

template Answers<EncodeReply> SendAll(const std::vector<InputSource>&, const SendOptions&,
                                      std::istream&, Progress&, const Send<EncodeReply>&);
template Answers<ClassifyReply> SendAll(const std::vector<InputSource>&, const SendOptions&,
                                        std::istream&, Progress&, const Send<ClassifyReply>&);

}  // namespace longwave::client
