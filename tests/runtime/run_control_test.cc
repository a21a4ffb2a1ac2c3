#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "model/runtime/model.h"
#include "tests/support/files.h"
#include "tests/support/random_model.h"

namespace longwave {
namespace {

std::unique_ptr<Model> LoadSmallModel(Model::Options options = {.threads = 2}) {
  ModelConfig config = testing::SmallModelConfig();
  config.max_length = 8192;
  config.max_position_embeddings = 0;
  const testing::TempFolder folder;
  testing::WriteModel(folder.path(), config, testing::RandomWeights(config, /*seed=*/82));
  auto model = Model::Load(folder.path(), options);
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

std::vector<int32_t> RandomIds(int64_t length, uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int32_t> id(0, 259);
  std::vector<int32_t> ids(length);
  for (int32_t& value : ids) value = id(generator);
  return ids;
}

RunItem Item(const std::vector<int32_t>& ids) {
  RunItem item;
  item.tokens = ids;
  return item;
}

// Counts the calls, does something in each, and says no from one of them on.
class CountingControl final : public RunControl {
 public:
  explicit CountingControl(
      int allowed, std::function<void()> meanwhile = [] {})
      : allowed_(allowed), meanwhile_(std::move(meanwhile)) {}

  bool Continue() override {
    ++calls_;
    meanwhile_();
    return calls_ <= allowed_;
  }
  int calls() const { return calls_; }

 private:
  const int allowed_;
  const std::function<void()> meanwhile_;
  int calls_ = 0;
};

constexpr int kAlways = 1 << 30;
constexpr int64_t kLong = 5000;

TEST(RunControlTest, IsAskedAgainAndAgainAndChangesNothing) {
  const auto model = LoadSmallModel();
  const std::vector<int32_t> ids = RandomIds(kLong, 1);
  const RunItem item = Item(ids);
  const RunResult alone = model->Run({&item, 1})[0];
  CountingControl control(kAlways);
  const RunResult result = model->Run({&item, 1}, {&control, /*background=*/true})[0];
  ASSERT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(result.values, alone.values);
  // A layer alone has five passes in chunks of at most 1,024 tokens.
  EXPECT_GE(control.calls(), kLong / 1024 * 5);
}

TEST(RunControlTest, ARunThatIsToStopIsCancelledAtOnce) {
  const auto model = LoadSmallModel();
  const std::vector<int32_t> ids = RandomIds(kLong, 2);
  const std::vector<RunItem> items = {Item(ids), Item({})};
  for (const int allowed : {0, 1, 17}) {
    CountingControl control(allowed);
    const std::vector<RunResult> results = model->Run(items, {&control, true});
    EXPECT_EQ(results[0].status.code(), absl::StatusCode::kCancelled);
    EXPECT_TRUE(results[0].values.empty());
    EXPECT_EQ(results[1].status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(control.calls(), allowed + 1);
  }
}

TEST(RunControlTest, OthersMayRunMeanwhile) {
  const auto model = LoadSmallModel();
  const std::vector<int32_t> long_ids = RandomIds(kLong, 3);
  const std::vector<int32_t> short_ids = RandomIds(40, 4);
  const RunItem long_item = Item(long_ids), short_item = Item(short_ids);
  const RunResult long_alone = model->Run({&long_item, 1})[0];
  const RunResult short_alone = model->Run({&short_item, 1})[0];
  CountingControl inner(kAlways);
  CountingControl control(kAlways, [&] {
    const RunResult meanwhile = model->Run({&short_item, 1}, {&inner, false})[0];
    EXPECT_EQ(meanwhile.values, short_alone.values);
  });
  EXPECT_EQ(model->Run({&long_item, 1}, {&control, true})[0].values, long_alone.values);
  EXPECT_GT(inner.calls(), 0);
}

TEST(RunControlTest, InvariantBatchesAreEqualToTheBit) {
  const auto model = LoadSmallModel({.threads = 2, .batch_invariant = true});
  std::vector<std::vector<int32_t>> sequences;
  std::vector<RunItem> items;
  for (const int64_t length : {1, 3, 64, 65, 500, 1025, 40}) {
    sequences.push_back(RandomIds(length, static_cast<uint32_t>(length)));
  }
  for (size_t i = 0; i < sequences.size(); ++i) {
    items.push_back(Item(sequences[i]));
    if (i % 2 == 1) {
      items.back().task = Task::kClassify;
    } else if (i % 4 == 0) {
      items.back().pooling = Pooling::kNone;
    }
  }
  const std::vector<RunResult> together = model->Run(items);
  for (size_t i = 0; i < items.size(); ++i) {
    const RunResult alone = model->Run({&items[i], 1})[0];
    ASSERT_TRUE(alone.status.ok()) << alone.status;
    EXPECT_EQ(together[i].values, alone.values) << "item " << i;
  }
}

TEST(RunControlTest, CostsGrowWithTheBatch) {
  const auto model = LoadSmallModel();
  const BatchShape base = {2, 300, 200};
  EXPECT_GT(model->EstimateMemory(base), 300 * model->info().hidden_size * 4);
  EXPECT_GT(model->EstimateMemory({2, 400, 200}), model->EstimateMemory(base));
  EXPECT_GT(model->EstimateMemory({2, 300, 250}), model->EstimateMemory(base));
  for (int64_t tokens = 1; tokens <= model->info().max_length / 16; tokens += tokens / 3 + 1) {
    EXPECT_GT(model->PredictMilliseconds(tokens), 0);
    EXPECT_GT(model->PredictMilliseconds(16 * tokens), 4 * model->PredictMilliseconds(tokens));
  }
}

}  // namespace
}  // namespace longwave
