#include "server/warm_up.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "model/tokenizer/ids_tokenizer.h"
#include "tests/server/batching/fake_clock.h"
#include "tests/server/fake_model.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

// A model that takes a millisecond of a fake clock per token and asks after each 512.
class PacedModel final : public Model {
 public:
  explicit PacedModel(FakeClock* clock) : clock_(clock) { info_ = FakeModel::DefaultInfo(); }

  const ModelInfo& info() const override { return info_; }
  const Tokenizer& tokenizer() const override { return tokenizer_; }
  absl::StatusOr<std::vector<AttentionPlan>> PlanAttention(
      absl::Span<const int64_t>) const override {
    return std::vector<AttentionPlan>();
  }
  int64_t EstimateMemory(const BatchShape& shape) const override { return shape.tokens; }
  double PredictMilliseconds(int64_t tokens) const override { return static_cast<double>(tokens); }

  std::vector<RunResult> Run(absl::Span<const RunItem> items, const RunOptions& options) override {
    int64_t tokens = 0;
    for (const RunItem& item : items) tokens += static_cast<int64_t>(item.tokens.size());
    batches.push_back({static_cast<int64_t>(items.size()), tokens});
    for (int64_t done = 0; done < tokens; done += 512) {
      clock_->Advance(static_cast<double>(std::min<int64_t>(512, tokens - done)) *
                      absl::Milliseconds(1) * slowness);
      if (options.control != nullptr && !options.control->Continue()) {
        return std::vector<RunResult>(items.size(), {absl::CancelledError("stopped"), 0, 0, {}});
      }
    }
    return std::vector<RunResult>(items.size(), {status, 0, 0, {}});
  }

  ModelInfo& info() { return info_; }

  std::vector<std::pair<int64_t, int64_t>> batches;  // items and their tokens
  absl::Status status;
  int slowness = 1;

 private:
  FakeClock* const clock_;
  ModelInfo info_;
  const IdsTokenizer tokenizer_{1};
};

class WarmUpTest : public ::testing::Test {
 protected:
  absl::Status Run(int64_t max_tokens, absl::Duration limit) {
    return WarmUp(model_, WarmUpShapes(max_tokens), limit, clock_,
                  [this](const std::string& line) { lines_.push_back(line); });
  }

  FakeClock clock_;
  PacedModel model_{&clock_};
  std::vector<std::string> lines_;
};

TEST_F(WarmUpTest, RunsPowersOfTwoAndAFullBatch) {
  ASSERT_TRUE(Run(2000, absl::Minutes(1)).ok());
  // An encoding and two heads at first, then one sequence each.
  EXPECT_THAT(model_.batches,
              ElementsAre(std::pair(3, 48), std::pair(1, 32), std::pair(1, 64), std::pair(1, 128),
                          std::pair(1, 256), std::pair(1, 512), std::pair(1, 1024),
                          std::pair(1, 2000), std::pair(3, 1536)));
  ASSERT_THAT(lines_, SizeIs(9));
  EXPECT_EQ(lines_[5], "6 of 9, 1 x 512 tokens: 512ms");
  EXPECT_EQ(lines_[8], "9 of 9, 3 x 512 tokens: 1.536s");
}

TEST_F(WarmUpTest, AShortModelHasFewShapes) {
  ASSERT_TRUE(Run(20, absl::Minutes(1)).ok());
  EXPECT_THAT(model_.batches, ElementsAre(std::pair(3, 48), std::pair(1, 20)));
  model_.batches.clear();
  ASSERT_TRUE(Run(1, absl::Minutes(1)).ok());
  EXPECT_THAT(model_.batches, ElementsAre(std::pair(3, 3)));
}

TEST_F(WarmUpTest, LeavesOutWhatWouldNotFit) {
  // 48 + 32 + 64 + 128 + 256 = 528 ms; 512 more would not fit.
  ASSERT_TRUE(Run(2000, absl::Milliseconds(1000)).ok());
  EXPECT_THAT(model_.batches, SizeIs(5));
  EXPECT_EQ(lines_.back(), "left out from 6 of 9, 1 x 512 tokens: the time is over (1s)");
}

TEST_F(WarmUpTest, TheFirstPassIsAlwaysRun) {
  ASSERT_TRUE(Run(2000, absl::ZeroDuration()).ok());
  EXPECT_THAT(model_.batches, ElementsAre(std::pair(3, 48)));
}

TEST_F(WarmUpTest, StopsARunThatTakesLongerThanPredicted) {
  model_.slowness = 1;
  std::vector<WarmUpShape> shapes = {{1, 16}, {1, 4096}};
  ASSERT_TRUE(
      WarmUp(model_, shapes, absl::Milliseconds(5000), clock_, [this](const std::string& line) {
        lines_.push_back(line);
        model_.slowness = 3;
      }).ok());
  // 48 ms, then chunks of 1,536 ms until 5 s are over.
  EXPECT_EQ(lines_.back(), "stopped in 2 of 2, 1 x 4096 tokens: the time is over (5s)");
  EXPECT_EQ(clock_.Now() - absl::UnixEpoch() - absl::Hours(1), absl::Milliseconds(48 + 4 * 1536));
}

TEST_F(WarmUpTest, LeavesOutWhatTheDeviceCannotHold) {
  model_.info().free_memory = 300;
  ASSERT_TRUE(Run(2000, absl::Minutes(1)).ok());
  EXPECT_THAT(model_.batches, SizeIs(5));
  EXPECT_THAT(lines_.back(), HasSubstr("too little memory"));
}

TEST_F(WarmUpTest, ReturnsTheModelsError) {
  model_.status = absl::InternalError("no kernel");
  const absl::Status status = Run(2000, absl::Minutes(1));
  EXPECT_EQ(status, absl::InternalError("warm-up failed: no kernel"));
}

}  // namespace
}  // namespace longwave
