#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <limits>
#include <string>

#include "model/runtime/model.h"
#include "tests/support/files.h"
#include "tests/support/random_model.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using testing::TempFolder;
using testing::WriteFile;

absl::Status LoadStatus(const std::string& folder) { return Model::Load(folder, {}).status(); }

TEST(LoadModelTest, DescribesTheModel) {
  const TempFolder folder;
  const ModelConfig config = testing::SmallModelConfig();
  testing::WriteRandomModel(folder.path(), config, /*seed=*/1);
  const auto model = Model::Load(folder.path(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  const ModelInfo& info = (*model)->info();
  EXPECT_EQ(info.hidden_size, config.hidden_size);
  EXPECT_EQ(info.vocab_size, config.vocab_size);
  EXPECT_EQ(info.max_length, config.max_length);
  EXPECT_GT(info.parameters, config.vocab_size * config.hidden_size);
  EXPECT_EQ(info.default_pooling, Pooling::kMean);
  EXPECT_TRUE(info.can_encode);
  EXPECT_EQ(info.device, "cpu");
  EXPECT_EQ(info.feature_map, "prf");
  ASSERT_THAT(info.heads, SizeIs(2));
  EXPECT_EQ(info.heads[0].name, "topic");
  EXPECT_THAT(info.heads[0].labels, ElementsAre("prose", "code", "data"));
  EXPECT_TRUE(info.warnings.empty());
  EXPECT_EQ((*model)->tokenizer().kind(), "byte");
}

TEST(LoadModelTest, CollectsWarnings) {
  const TempFolder folder;
  const ModelConfig config = testing::SmallModelConfig();
  testing::WeightMap weights = testing::RandomWeights(config, /*seed=*/1);
  weights["extra"] = {{1}, {1}};
  testing::WriteModel(folder.path(), config, weights);
  std::string json = testing::ConfigJson(config);
  json.insert(1, "\"author\": \"someone\",");
  WriteFile(folder.path(), "config.json", json);
  const auto model = Model::Load(folder.path(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_THAT((*model)->info().warnings, ElementsAre(HasSubstr("author"), HasSubstr("'extra'")));
}

TEST(LoadModelTest, HeadsWithoutTheTaskAreNotServed) {
  const TempFolder folder;
  ModelConfig config = testing::SmallModelConfig();
  config.can_classify = false;
  testing::WriteRandomModel(folder.path(), config, /*seed=*/1);
  const auto model = Model::Load(folder.path(), {});
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_TRUE((*model)->info().heads.empty());
}

TEST(LoadModelTest, RefusesWrongOptions) {
  EXPECT_EQ(Model::Load("unused", {.device = "tpu"}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Model::Load("unused", {.threads = -1}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(LoadModelTest, NamesTheFileThatIsMissing) {
  const TempFolder folder;
  EXPECT_EQ(LoadStatus(folder.path() + "/none").code(), absl::StatusCode::kNotFound);
  const absl::Status config = LoadStatus(folder.path());
  EXPECT_EQ(config.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(config.message()), HasSubstr("config.json"));
  WriteFile(folder.path(), "config.json", testing::ConfigJson(testing::SmallModelConfig()));
  const absl::Status weights = LoadStatus(folder.path());
  EXPECT_EQ(weights.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(weights.message()), HasSubstr("model.safetensors"));
}

TEST(LoadModelTest, RefusesDamagedFolders) {
  const TempFolder folder;
  const ModelConfig config = testing::SmallModelConfig();
  const auto weights_changed = [&](const std::function<void(testing::WeightMap&)>& change) {
    testing::WeightMap weights = testing::RandomWeights(config, /*seed=*/1);
    change(weights);
    testing::WriteModel(folder.path(), config, weights);
    return LoadStatus(folder.path());
  };
  const absl::Status nan = weights_changed([](auto& weights) {
    weights["encoder.final_norm.weight"].values[0] = std::numeric_limits<float>::quiet_NaN();
  });
  EXPECT_THAT(std::string(nan.message()), HasSubstr("'encoder.final_norm.weight': found a NaN"));
  const absl::Status labels = weights_changed([](auto& weights) {
    weights["heads.topic.out.bias"] = {{4}, {1, 2, 3, 4}};
  });
  EXPECT_THAT(std::string(labels.message()), HasSubstr("found shape [4], expected [3]"));

  testing::WriteRandomModel(folder.path(), config, /*seed=*/1);
  const std::string whole = testing::ReadFile(folder.path(), "model.safetensors");
  WriteFile(folder.path(), "model.safetensors", whole.substr(0, whole.size() - 4));
  const absl::Status truncated = LoadStatus(folder.path());
  for (const absl::Status& status : {nan, labels, truncated}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(status.message()), HasSubstr(folder.path() + "/model.safetensors"));
  }
}

TEST(LoadModelTest, ReadsNothingThroughALink) {
  const TempFolder real;
  testing::WriteRandomModel(real.path(), testing::SmallModelConfig(), /*seed=*/1);
  const TempFolder folder;
  WriteFile(folder.path(), "config.json", testing::ReadFile(real.path(), "config.json"));
  std::filesystem::create_symlink(real.path() + "/model.safetensors",
                                  folder.path() + "/model.safetensors");
  const absl::Status status = LoadStatus(folder.path());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("symbolic link"));
}

// A config that promises sizes far beyond the file must not make anything of that size.
TEST(LoadModelTest, AConfigCannotAskForMoreThanTheFileHolds) {
  const TempFolder folder;
  ModelConfig config = testing::SmallModelConfig();
  testing::WriteRandomModel(folder.path(), config, /*seed=*/1);
  config.vocab_size = INT32_MAX;
  WriteFile(folder.path(), "config.json", testing::ConfigJson(config));
  const absl::Status status = LoadStatus(folder.path());
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("found shape [260, 32], expected [2147483647, 32]"));
}

}  // namespace
}  // namespace longwave
