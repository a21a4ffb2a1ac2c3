#include "model/encoder/load_weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <string>

#include "model/encoder/weight_reader.h"
#include "tests/support/files.h"
#include "tests/support/random_model.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::WeightMap;

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

absl::StatusOr<EncoderWeights> LoadChanged(const ModelConfig& config,
                                           const std::function<void(WeightMap&)>& change) {
  WeightMap weights = testing::RandomWeights(config, /*seed=*/5);
  change(weights);
  const testing::TempFolder folder;
  testing::WriteModel(folder.path(), config, weights);
  const auto file = SafetensorsFile::Open(folder.path(), "model.safetensors");
  EXPECT_TRUE(file.ok()) << file.status();
  return LoadEncoderWeights(config, *file);
}

TEST(LoadWeightsTest, CountsParametersAndNamesWhatIsNotUsed) {
  const ModelConfig config = testing::SmallModelConfig();
  int64_t expected = 0;
  for (const auto& [name, tensor] : testing::RandomWeights(config, 5)) {
    expected += static_cast<int64_t>(tensor.values.size());
  }
  const auto weights = LoadChanged(config, [](WeightMap& w) { w["extra.weight"] = {{1}, {kNan}}; });
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->parameters, expected);
  EXPECT_THAT(weights->warnings, ElementsAre(HasSubstr("tensor 'extra.weight': unknown, ignored")));
}

TEST(LoadWeightsTest, EveryTensorIsRequired) {
  ModelConfig config = testing::SmallModelConfig();
  config.max_position_embeddings = 512;
  config.embedding_norm = true;
  for (const bool shared : {false, true}) {
    config.attention.shared_bias = config.attention.shared_projection = shared;
    for (const auto& [name, tensor] : testing::RandomWeights(config, 5)) {
      const absl::Status status =
          LoadChanged(config, [&](WeightMap& w) { w.erase(name); }).status();
      EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
      EXPECT_THAT(std::string(status.message()),
                  HasSubstr("model.safetensors: tensor '" + name + "': found none, expected F32"));
    }
  }
}

TEST(LoadWeightsTest, SharedTablesAreOneObject) {
  ModelConfig config = testing::SmallModelConfig();
  config.attention.shared_bias = config.attention.shared_projection = true;
  const auto weights = LoadChanged(config, [](WeightMap&) {});
  ASSERT_TRUE(weights.ok()) << weights.status();
  EXPECT_EQ(weights->layers[0].bias.get(), weights->layers[1].bias.get());
  EXPECT_EQ(weights->layers[0].projection.data_ptr(), weights->layers[1].projection.data_ptr());
}

// A change to the weights and what the error says.
struct BadWeights {
  const char* what;
  std::function<void(WeightMap&)> change;
  const char* message;
};

class BadWeightsTest : public ::testing::TestWithParam<BadWeights> {};

TEST_P(BadWeightsTest, IsRefused) {
  const absl::Status status = LoadChanged(testing::SmallModelConfig(), GetParam().change).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("model.safetensors: tensor '"));
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    LoadWeights, BadWeightsTest,
    ::testing::Values(
        BadWeights{"Transposed",
                   [](WeightMap& w) {
                     w["encoder.layers.0.mlp.in.weight"].shape = {32, 64};
                   },
                   "'encoder.layers.0.mlp.in.weight': found shape [32, 64], expected [64, 32]"},
        BadWeights{"LabelCount",
                   [](WeightMap& w) {
                     w["heads.topic.out.weight"] = {{4, 32}, std::vector<float>(128, 0.5f)};
                   },
                   "'heads.topic.out.weight': found shape [4, 32], expected [3, 32]"},
        BadWeights{"LabelCountOfBias",
                   [](WeightMap& w) {
                     w["heads.topic.out.bias"] = {{2}, {0.5f, 0.5f}};
                   },
                   "'heads.topic.out.bias': found shape [2], expected [3]"},
        BadWeights{"ProjectionOfOneHeadTooMany",
                   [](WeightMap& w) {
                     w["encoder.layers.0.attention.projection"] = {
                         {5, 16, 8}, std::vector<float>(5 * 16 * 8, 0.5f)};
                   },
                   "found shape [5, 16, 8], expected [4, 16, 8]"},
        BadWeights{"ProjectionShape",
                   [](WeightMap& w) {
                     w["encoder.layers.0.attention.projection"].shape = {8, 16};
                   },
                   "found shape [8, 16], expected [16, 8]"},
        BadWeights{"BiasLength",
                   [](WeightMap& w) {
                     w["encoder.layers.1.attention.relative_bias"] = {
                         {4, 128}, std::vector<float>(512, 0.5f)};
                   },
                   "relative_bias': found shape [4, 128], expected [4, 127]"},
        BadWeights{"Nan",
                   [](WeightMap& w) { w["encoder.layers.1.mlp.out.weight"].values[7] = kNan; },
                   "'encoder.layers.1.mlp.out.weight': found a NaN"},
        BadWeights{"NanInFusedKey",
                   [](WeightMap& w) { w["encoder.layers.0.attention.k.weight"].values[9] = kNan; },
                   "'encoder.layers.0.attention.k.weight': found a NaN"},
        BadWeights{
            "Infinity",
            [](WeightMap& w) { w["encoder.embeddings.token.weight"].values[5] = -kInfinity; },
            "'encoder.embeddings.token.weight': found an infinity"},
        BadWeights{
            "InfiniteProjection",
            [](WeightMap& w) { w["encoder.layers.0.attention.projection"].values[0] = kInfinity; },
            "projection': found an infinity"},
        BadWeights{
            "NanBias",
            [](WeightMap& w) { w["encoder.layers.0.attention.relative_bias"].values[3] = kNan; },
            "'encoder.layers.0.attention.relative_bias'"},
        BadWeights{"PositiveInfinityBias",
                   [](WeightMap& w) {
                     w["encoder.layers.0.attention.relative_bias"].values[3] = kInfinity;
                   },
                   "'encoder.layers.0.attention.relative_bias'"},
        BadWeights{"SelfForbidden",
                   [](WeightMap& w) {
                     w["encoder.layers.0.attention.relative_bias"].values[63] = -kInfinity;
                   },
                   "'encoder.layers.0.attention.relative_bias'"}),
    [](const ::testing::TestParamInfo<BadWeights>& info) { return info.param.what; });

TEST(LoadWeightsTest, ForbiddenDistancesAreLegal) {
  const auto weights = LoadChanged(testing::SmallModelConfig(), [](WeightMap& w) {
    w["encoder.layers.0.attention.relative_bias"].values[3] = -kInfinity;
  });
  EXPECT_TRUE(weights.ok()) << weights.status();
}

// With U8 data under the right name, so that the file itself is sound.
TEST(LoadWeightsTest, RefusesOtherElementTypes) {
  const testing::TempFolder folder;
  const std::string name = "encoder.embeddings.token.weight";
  testing::WriteFile(
      folder.path(), "model.safetensors",
      testing::RawSafetensors(
          "{\"" + name + "\":{\"dtype\":\"U8\",\"shape\":[260,32],\"data_offsets\":[0,8320]}}",
          std::string(8320, 'x')));
  const auto file = SafetensorsFile::Open(folder.path(), "model.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  const absl::Status status = LoadEncoderWeights(testing::SmallModelConfig(), *file).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("'" + name + "': found dtype U8, expected F32 or F16 or BF16"));
}

TEST(WeightReaderTest, TablesAreNeverNarrow) {
  const testing::TempFolder folder;
  testing::WriteFile(
      folder.path(), "model.safetensors",
      testing::SerializeSafetensors({{"table", {{2}, {1, 2}}}}, TensorType::kFloat16));
  const auto file = SafetensorsFile::Open(folder.path(), "model.safetensors");
  ASSERT_TRUE(file.ok()) << file.status();
  WeightReader reader(&*file);
  EXPECT_FALSE(reader.ReadFloat32("table", {{2}}, /*finite=*/true).defined());
  EXPECT_THAT(std::string(reader.status().message()),
              HasSubstr("'table': found dtype F16, expected F32"));
}

}  // namespace
}  // namespace longwave
