#include "model/runtime/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "tests/support/files.h"
#include "tests/support/random_model.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;

std::unique_ptr<Model> LoadModel(const ModelConfig& config, const testing::WeightMap& weights) {
  const testing::TempFolder folder;
  testing::WriteModel(folder.path(), config, weights);
  auto model = Model::Load(folder.path(), {.threads = 2});
  EXPECT_TRUE(model.ok()) << model.status();
  return *std::move(model);
}

std::unique_ptr<Model> LoadSmallModel() {
  const ModelConfig config = testing::SmallModelConfig();
  return LoadModel(config, testing::RandomWeights(config, /*seed=*/80));
}

std::vector<std::vector<int32_t>> RandomSequences(const std::vector<int64_t>& lengths) {
  std::mt19937 generator(81);
  std::uniform_int_distribution<int32_t> id(0, 259);
  std::vector<std::vector<int32_t>> sequences;
  for (const int64_t length : lengths) {
    sequences.emplace_back(length);
    for (int32_t& value : sequences.back()) value = id(generator);
  }
  return sequences;
}

// The largest difference as a share of the largest value.
double Difference(const std::vector<float>& found, const std::vector<float>& expected) {
  double largest = 0, difference = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::fabs(static_cast<double>(expected[i])));
    difference = std::max(difference, std::fabs(static_cast<double>(found[i]) - expected[i]));
  }
  return difference / largest;
}

double NormOfRow(const RunResult& result, int64_t row) {
  double sum = 0;
  for (int64_t c = 0; c < result.cols; ++c) {
    const double value = result.values[row * result.cols + c];
    sum += value * value;
  }
  return std::sqrt(sum);
}

TEST(ModelTest, AnEmptyBatchHasNoResults) { EXPECT_TRUE(LoadSmallModel()->Run({}).empty()); }

// Every kind of item in one ragged batch gives what it gives alone.
TEST(ModelTest, BatchedEqualsSingle) {
  const auto model = LoadSmallModel();
  const auto sequences = RandomSequences({1, 300, 2, 63, 512, 64, 65, 3, 128, 17, 511, 1});
  std::vector<RunItem> items;
  for (size_t i = 0; i < sequences.size(); ++i) {
    RunItem item;
    item.tokens = sequences[i];
    item.task = i % 3 == 2 ? Task::kClassify : Task::kEncode;
    item.pooling = i % 3 == 1 ? Pooling::kNone : i % 2 == 0 ? Pooling::kMean : Pooling::kFirstToken;
    item.normalize = i % 4 == 0;
    item.head = static_cast<int>(i / 3 % 2);
    items.push_back(item);
  }
  const std::vector<RunResult> batched = model->Run(items);
  ASSERT_EQ(batched.size(), items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    const std::vector<RunResult> single = model->Run({&items[i], 1});
    ASSERT_TRUE(batched[i].status.ok()) << batched[i].status;
    ASSERT_EQ(batched[i].values.size(), single[0].values.size());
    EXPECT_EQ(batched[i].rows, single[0].rows);
    EXPECT_LE(Difference(batched[i].values, single[0].values), 1e-5) << "item " << i;
  }
}

TEST(ModelTest, PoolingsAgreeWithTheTokens) {
  const auto model = LoadSmallModel();
  const auto sequences = RandomSequences({40});
  std::vector<RunItem> items(3);
  for (RunItem& item : items) item.tokens = sequences[0];
  items[0].pooling = Pooling::kNone;
  items[1].pooling = Pooling::kMean;
  items[2].pooling = Pooling::kFirstToken;
  // Three sequences of one batch: each item is computed on its own.
  const std::vector<RunResult> results = model->Run(items);
  for (const RunResult& result : results) ASSERT_TRUE(result.status.ok()) << result.status;
  const RunResult& tokens = results[0];
  ASSERT_EQ(tokens.rows, 40);
  ASSERT_EQ(tokens.cols, 32);
  std::vector<float> mean(32), first(tokens.values.begin(), tokens.values.begin() + 32);
  for (int64_t c = 0; c < 32; ++c) {
    double sum = 0;
    for (int64_t t = 0; t < 40; ++t) sum += tokens.values[t * 32 + c];
    mean[c] = static_cast<float>(sum / 40);
  }
  EXPECT_EQ(results[1].rows, 1);
  EXPECT_LE(Difference(results[1].values, mean), 1e-5);
  EXPECT_LE(Difference(results[2].values, first), 1e-5);
}

TEST(ModelTest, NormalizesEveryRow) {
  const auto model = LoadSmallModel();
  const auto sequences = RandomSequences({9});
  RunItem item;
  item.tokens = sequences[0];
  for (const Pooling pooling : {Pooling::kMean, Pooling::kFirstToken, Pooling::kNone}) {
    item.pooling = pooling;
    item.normalize = false;
    const RunResult raw = model->Run({&item, 1})[0];
    item.normalize = true;
    const RunResult unit = model->Run({&item, 1})[0];
    ASSERT_TRUE(raw.status.ok() && unit.status.ok());
    for (int64_t row = 0; row < unit.rows; ++row) {
      EXPECT_NEAR(NormOfRow(unit, row), 1, 1e-6);
      EXPECT_NEAR(unit.values[row * 32], raw.values[row * 32] / NormOfRow(raw, row), 1e-6);
    }
  }
}

TEST(ModelTest, AZeroRowStaysZero) {
  ModelConfig config = testing::SmallModelConfig();
  testing::WeightMap weights = testing::RandomWeights(config, /*seed=*/82);
  for (const char* name : {"encoder.final_norm.weight", "encoder.final_norm.bias"}) {
    std::fill(weights[name].values.begin(), weights[name].values.end(), 0.0f);
  }
  const auto model = LoadModel(config, weights);
  const auto sequences = RandomSequences({5});
  RunItem item;
  item.tokens = sequences[0];
  item.normalize = true;
  const RunResult result = model->Run({&item, 1})[0];
  ASSERT_TRUE(result.status.ok()) << result.status;
  EXPECT_EQ(result.values, std::vector<float>(32, 0.0f));
}

TEST(ModelTest, ProbabilitiesOfEveryHeadSumToOne) {
  const auto model = LoadSmallModel();
  const auto sequences = RandomSequences({33});
  RunItem item;
  item.tokens = sequences[0];
  item.task = Task::kClassify;
  for (item.head = 0; item.head < 2; ++item.head) {
    const RunResult result = model->Run({&item, 1})[0];
    ASSERT_TRUE(result.status.ok()) << result.status;
    EXPECT_EQ(result.cols, item.head == 0 ? 3 : 5);
    double sum = 0;
    for (const float probability : result.values) {
      EXPECT_GT(probability, 0);
      sum += probability;
    }
    EXPECT_NEAR(sum, 1, 1e-6);
  }
}

TEST(ModelTest, ABadItemFailsAlone) {
  const auto model = LoadSmallModel();
  const auto sequences = RandomSequences({20, 513, 512});
  const std::vector<int32_t> negative = {1, -1}, beyond = {1, 2, 260};
  std::vector<RunItem> items(8);
  for (RunItem& item : items) item.tokens = sequences[0];
  items[1].tokens = {};
  items[2].tokens = sequences[1];
  items[3].tokens = negative;
  items[4].tokens = beyond;
  items[5].task = Task::kClassify;
  items[5].head = 2;
  items[6].task = Task::kClassify;
  items[6].head = -1;
  items[7].tokens = sequences[2];
  const std::vector<RunResult> results = model->Run(items);
  ASSERT_EQ(results.size(), items.size());
  EXPECT_TRUE(results[0].status.ok()) << results[0].status;
  EXPECT_TRUE(results[7].status.ok()) << results[7].status;
  EXPECT_LE(Difference(results[0].values, model->Run({&items[0], 1})[0].values), 1e-5);
  EXPECT_EQ(results[2].status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(results[2].status.message()), HasSubstr("513"));
  EXPECT_THAT(std::string(results[4].status.message()),
              HasSubstr("tokens[2]: found id 260, expected 0 to 259"));
  for (const int i : {1, 3, 4, 5, 6}) {
    EXPECT_EQ(results[i].status.code(), absl::StatusCode::kInvalidArgument) << i;
    EXPECT_TRUE(results[i].values.empty());
  }
}

TEST(ModelTest, RefusesTasksThatItDoesNotServe) {
  ModelConfig config = testing::SmallModelConfig();
  config.can_encode = false;
  const auto classifier = LoadModel(config, testing::RandomWeights(config, /*seed=*/83));
  config.can_encode = true;
  config.can_classify = false;
  const auto encoder = LoadModel(config, testing::RandomWeights(config, /*seed=*/83));
  const auto sequences = RandomSequences({4});
  RunItem item;
  item.tokens = sequences[0];
  EXPECT_EQ(classifier->Run({&item, 1})[0].status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(encoder->Run({&item, 1})[0].status.ok());
  item.task = Task::kClassify;
  EXPECT_TRUE(classifier->Run({&item, 1})[0].status.ok());
  EXPECT_EQ(encoder->Run({&item, 1})[0].status.code(), absl::StatusCode::kInvalidArgument);
}

// Finite weights whose products overflow: the answer is an error, and only for the items that reach
// them.
TEST(ModelTest, WhatIsNotFiniteIsNotAnAnswer) {
  ModelConfig config = testing::SmallModelConfig();
  config.num_hidden_layers = 0;
  config.norm_position =
      NormPosition::kPost;  // no final norm either: embeddings go straight to the heads
  testing::WeightMap weights = testing::RandomWeights(config, /*seed=*/84);
  const float huge = std::numeric_limits<float>::max();
  auto& embeddings = weights["encoder.embeddings.token.weight"].values;
  std::fill(embeddings.begin() + 7 * 32, embeddings.begin() + 8 * 32, huge);
  const auto model = LoadModel(config, weights);
  const std::vector<int32_t> bad = {7, 7, 7}, good = {1, 2, 3};
  std::vector<RunItem> items(4);
  items[0].tokens = bad;
  items[1].tokens = good;
  items[2].tokens = bad;
  items[2].task = Task::kClassify;
  items[3].tokens = good;
  items[3].task = Task::kClassify;
  const std::vector<RunResult> results = model->Run(items);
  for (const int i : {0, 2}) {
    EXPECT_EQ(results[i].status.code(), absl::StatusCode::kInternal);
    EXPECT_THAT(std::string(results[i].status.message()), HasSubstr("NaN or an infinity"));
    EXPECT_TRUE(results[i].values.empty());
  }
  for (const int i : {1, 3}) EXPECT_TRUE(results[i].status.ok()) << results[i].status;
}

TEST(ModelTest, PlansEveryLayerHeadAndLengthOnce) {
  const std::unique_ptr<Model> model = LoadSmallModel();
  const ModelConfig config = testing::SmallModelConfig();
  const std::vector<int64_t> lengths = {1, 60, model->info().max_length};
  const auto plans = model->PlanAttention(lengths);
  ASSERT_TRUE(plans.ok()) << plans.status();
  size_t combinations = 0;
  for (const AttentionPlan& plan : *plans) {
    combinations += plan.layers.size() * plan.heads.size() * plan.lengths.size();
    EXPECT_FALSE(plan.algorithm.empty());
    EXPECT_FALSE(plan.reason.empty());
    EXPECT_GT(plan.predicted_ms, 0);
    EXPECT_LE(plan.error_bound, 1e-5);
  }
  EXPECT_EQ(combinations, lengths.size() * config.num_hidden_layers * config.num_attention_heads);
  EXPECT_EQ(model->PlanAttention({0}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(model->PlanAttention({model->info().max_length + 1}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(ModelTest, IsDeterministic) {
  const auto model = LoadSmallModel();
  const auto sequences = RandomSequences({100, 7});
  std::vector<RunItem> items(2);
  for (size_t i = 0; i < 2; ++i) items[i].tokens = sequences[i];
  const std::vector<RunResult> first = model->Run(items);
  const std::vector<RunResult> second = model->Run(items);
  for (size_t i = 0; i < 2; ++i) EXPECT_EQ(first[i].values, second[i].values);
}

}  // namespace
}  // namespace longwave
