#include "server/warm_up.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

constexpr int64_t kShortest = 16;
constexpr int64_t kUsual = 512;
constexpr absl::Duration kResolution = absl::Microseconds(100);  // of what people read

// Stops a run at a time.
class StopAt final : public RunControl {
 public:
  StopAt(const Clock& clock, absl::Time time) : clock_(clock), time_(time) {}

  bool Continue() override {
    stopped_ = stopped_ || clock_.Now() >= time_;
    return !stopped_;
  }

  bool stopped() const { return stopped_; }

 private:
  const Clock& clock_;
  const absl::Time time_;
  bool stopped_ = false;
};

std::vector<int32_t> MakeTokens(int64_t count, int64_t vocab_size) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) tokens[i] = static_cast<int32_t>(i % vocab_size);
  return tokens;
}

// Every task of the model on the same tokens.
std::vector<RunItem> EveryTask(const ModelInfo& info, absl::Span<const int32_t> tokens) {
  std::vector<RunItem> items;
  if (info.can_encode) {
    items.push_back({tokens, Task::kEncode, info.default_pooling, /*normalize=*/true, 0});
  }
  for (size_t head = 0; head < info.heads.size(); ++head) {
    items.push_back({tokens, Task::kClassify, Pooling::kMean, false, static_cast<int>(head)});
  }
  return items;
}

absl::Status FirstError(const std::vector<RunResult>& results) {
  for (const RunResult& result : results) {
    if (!result.status.ok()) {
      return absl::Status(result.status.code(),
                          absl::StrCat("warm-up failed: ", result.status.message()));
    }
  }
  return absl::OkStatus();
}

bool FitsInMemory(const Model& model, const WarmUpShape& shape) {
  const int64_t free = model.info().free_memory;
  const int64_t needed = model.EstimateMemory(
      {shape.sequences, shape.sequences * shape.tokens, /*longest=*/shape.tokens});
  return free == 0 || needed <= free;
}

std::string ToText(const WarmUpShape& shape) {
  return absl::StrCat(shape.sequences, " x ", shape.tokens, " tokens");
}

}  // namespace

std::vector<WarmUpShape> WarmUpShapes(int64_t max_tokens) {
  std::vector<WarmUpShape> shapes;
  for (int64_t tokens = kShortest; tokens < max_tokens; tokens *= 2) shapes.push_back({1, tokens});
  shapes.push_back({1, max_tokens});
  if (max_tokens >= 2 * kUsual) shapes.push_back({max_tokens / kUsual, kUsual});
  return shapes;
}

absl::Status WarmUp(Model& model, const std::vector<WarmUpShape>& shapes, absl::Duration time_limit,
                    const Clock& clock, const std::function<void(const std::string&)>& progress) {
  const ModelInfo& info = model.info();
  const std::string time_is_over =
      absl::StrCat("the time is over (", absl::FormatDuration(time_limit), ")");
  const absl::Time stop = clock.Now() + time_limit;
  absl::Duration per_cost;  // time of the last shape by its predicted cost
  for (size_t i = 0; i < shapes.size(); ++i) {
    const bool first = i == 0;
    const WarmUpShape& shape = shapes[i];
    const std::string which = absl::StrCat(i + 1, " of ", shapes.size(), ", ", ToText(shape));
    const std::vector<int32_t> tokens = MakeTokens(shape.tokens, info.vocab_size);
    std::vector<RunItem> items = EveryTask(info, tokens);
    if (!first) items.assign(static_cast<size_t>(shape.sequences), items.front());
    const double cost = static_cast<double>(items.size()) * model.PredictMilliseconds(shape.tokens);
    const absl::Time begin = clock.Now();
    if (!first && begin + cost * per_cost > stop) {
      progress(absl::StrCat("left out from ", which, ": ", time_is_over));
      return absl::OkStatus();
    }
    if (!first && !FitsInMemory(model, shape)) {
      progress(absl::StrCat("left out from ", which, ": the device has too little memory"));
      return absl::OkStatus();
    }
    StopAt control(clock, stop);
    RunOptions options;
    if (!first) options.control = &control;
    const absl::Status status = FirstError(model.Run(items, options));
    if (control.stopped()) {
      progress(absl::StrCat("stopped in ", which, ": ", time_is_over));
      return absl::OkStatus();
    }
    if (!status.ok()) return status;
    const absl::Duration took = clock.Now() - begin;
    per_cost = took / cost;
    progress(absl::StrCat(which, ": ", absl::FormatDuration(absl::Trunc(took, kResolution))));
  }
  return absl::OkStatus();
}

}  // namespace longwave
