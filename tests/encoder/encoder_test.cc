#include "model/encoder/encoder.h"

#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "model/device/find_device.h"
#include "model/device/torch_device.h"
#include "model/encoder/load_weights.h"
#include "model/encoder/pooling.h"
#include "tests/encoder/reference_encoder.h"
#include "tests/support/files.h"
#include "tests/support/random_model.h"

namespace longwave {
namespace {

using testing::Matrix;
using testing::WeightMap;

Encoder LoadEncoder(const ModelConfig& config, const WeightMap& weights,
                    TensorType type = TensorType::kFloat32) {
  const testing::TempFolder folder;
  testing::WriteModel(folder.path(), config, weights, type);
  const auto file = SafetensorsFile::Open(folder.path(), "model.safetensors");
  EXPECT_TRUE(file.ok()) << file.status();
  auto loaded = LoadEncoderWeights(config, *file);
  EXPECT_TRUE(loaded.ok()) << loaded.status();
  return Encoder(config, *std::move(loaded));
}

std::vector<int32_t> RandomIds(int64_t count, int64_t vocab_size, std::mt19937& generator) {
  std::uniform_int_distribution<int32_t> id(0, static_cast<int32_t>(vocab_size - 1));
  std::vector<int32_t> ids(count);
  for (int32_t& value : ids) value = id(generator);
  return ids;
}

// The largest difference between rows of `found` from `begin` on and `expected`, as a share of the
// largest value of the row.
double RelativeError(const at::Tensor& found, int64_t begin, const Matrix& expected) {
  double worst = 0;
  const float* values = found.const_data_ptr<float>() + begin * found.size(1);
  for (const std::vector<double>& row : expected) {
    double largest = 0, difference = 0;
    for (const double value : row) {
      largest = std::max(largest, std::fabs(value));
      difference = std::max(difference, std::fabs(value - *values++));
    }
    // A NaN must not get lost in a maximum.
    if (!(difference / largest <= worst)) worst = difference / largest;
  }
  return worst;
}

struct Variant {
  const char* name;
  std::function<void(ModelConfig&)> change;
  double tolerance = 1e-5;
};

// Where the weights are, and in what precision the activations. `error`: what rounding them adds.
struct Placement {
  const char* device;
  at::ScalarType dtype;
  double error = 0;
};

std::string VariantName(const ::testing::TestParamInfo<std::tuple<Placement, Variant>>& info) {
  const auto& [placement, variant] = info.param;
  return std::string(variant.name) + "_" + std::string(placement.device).substr(0, 4) + "_" +
         c10::toString(placement.dtype);
}

class EncoderVariantTest : public ::testing::TestWithParam<std::tuple<Placement, Variant>> {};

// A ragged batch, against float64 for each sequence alone: so the packed batch is right, and
// independent of who is in it.
TEST_P(EncoderVariantTest, MatchesFloat64) {
  const auto& [placement, variant] = GetParam();
  const absl::StatusOr<Device*> device = FindDevice(placement.device);
  if (!device.ok()) GTEST_SKIP() << device.status().message();
  ModelConfig config = testing::SmallModelConfig();
  variant.change(config);
  const WeightMap weights = testing::RandomWeights(config, /*seed=*/20);
  const Encoder loaded = LoadEncoder(config, weights);
  const Encoder encoder(
      config, PlaceWeights(loaded.weights(), TorchDevice((*device)->info()), placement.dtype));
  std::mt19937 generator(21);
  const std::vector<int64_t> lengths = {1, 37, 2, 130, 64, 7};
  std::vector<std::vector<int32_t>> sequences;
  std::vector<int32_t> packed;
  for (const int64_t length : lengths) {
    sequences.push_back(RandomIds(length, config.vocab_size, generator));
    packed.insert(packed.end(), sequences.back().begin(), sequences.back().end());
  }
  const c10::InferenceMode inference;
  const at::Tensor placed = encoder.Forward(packed, lengths);
  ASSERT_EQ(placed.size(0), static_cast<int64_t>(packed.size()));
  ASSERT_EQ(placed.scalar_type(), placement.dtype);
  ASSERT_TRUE(placed.is_contiguous());
  const at::Tensor hidden = placed.to(at::kCPU).to(at::kFloat);
  int64_t begin = 0;
  for (size_t i = 0; i < sequences.size(); ++i) {
    const Matrix expected = testing::ReferenceForward(config, weights, sequences[i]);
    EXPECT_LE(RelativeError(hidden, begin, expected), variant.tolerance + placement.error)
        << "sequence of " << lengths[i];
    begin += lengths[i];
  }
}

INSTANTIATE_TEST_SUITE_P(
    Encoder, EncoderVariantTest,
    ::testing::Combine(::testing::Values(Placement{"cpu", at::kFloat}, Placement{"cpu", at::kBFloat16, 3e-2}, Placement{"cuda:0", at::kFloat}, Placement{"cuda:0", at::kHalf, 4e-3}, Placement{"cuda:0", at::kBFloat16, 3e-2}), ::testing::Values(Variant{"PreNorm", [](ModelConfig&) {}},
                                                                                                                                                                                                                                                  Variant{
                                                                                                                                                                                                                                                      "PostNorm",
                                                                                                                                                                                                                                                      [](ModelConfig& c) {
                                                                                                                                                                                                                                                        c.norm_position =
                                                                                                                                                                                                                                                            NormPosition::
                                                                                                                                                                                                                                                                kPost;
                                                                                                                                                                                                                                                        c.embedding_norm =
                                                                                                                                                                                                                                                            true;
                                                                                                                                                                                                                                                      }},
                                                                                                                                                                                                                                                  Variant{
                                                                                                                                                                                                                                                      "PreNormWithEmbeddingNorm",
                                                                                                                                                                                                                                                      [](ModelConfig&
                                                                                                                                                                                                                                                             c) {
                                                                                                                                                                                                                                                        c.embedding_norm =
                                                                                                                                                                                                                                                            true;
                                                                                                                                                                                                                                                      }},
                                                                                                                                                                                                                                                  Variant{
                                                                                                                                                                                                                                                      "GeluTanh",
                                                                                                                                                                                                                                                      [](ModelConfig&
                                                                                                                                                                                                                                                             c) {
                                                                                                                                                                                                                                                        c.hidden_act =
                                                                                                                                                                                                                                                            HiddenActivation::
                                                                                                                                                                                                                                                                kGeluTanh;
                                                                                                                                                                                                                                                      }},
                                                                                                                                                                                                                                                  Variant{
                                                                                                                                                                                                                                                      "Positions",
                                                                                                                                                                                                                                                      [](ModelConfig&
                                                                                                                                                                                                                                                             c) {
                                                                                                                                                                                                                                                        c.max_position_embeddings =
                                                                                                                                                                                                                                                            512;
                                                                                                                                                                                                                                                      }},
                                                                                                                                                                                                                                                  Variant{
                                                                                                                                                                                                                                                      "Causal",
                                                                                                                                                                                                                                                      [](ModelConfig&
                                                                                                                                                                                                                                                             c) {
                                                                                                                                                                                                                                                        c.attention
                                                                                                                                                                                                                                                            .causal =
                                                                                                                                                                                                                                                            true;
                                                                                                                                                                                                                                                      }},
                                                                                                                                                                                                                                                  Variant{
                                                                                                                                                                                                                                                      "SharedTables",
                                                                                                                                                                                                                                                      [](ModelConfig&
                                                                                                                                                                                                                                                             c) {
                                                                                                                                                                                                                                                        c.attention
                                                                                                                                                                                                                                                            .shared_bias =
                                                                                                                                                                                                                                                            true;
                                                                                                                                                                                                                                                        c.attention
                                                                                                                                                                                                                                                            .shared_projection =
                                                                                                                                                                                                                                                            true;
                                                                                                                                                                                                                                                      }},
                                                                                                                                                                                                                                                  Variant{
                                                                                                                                                                                                                                                      "NotNormalized",
                                                                                                                                                                                                                                                      [](ModelConfig&
                                                                                                                                                                                                                                                             c) {
                                                                                                                                                                                                                                                        c.attention
                                                                                                                                                                                                                                                            .normalize =
                                                                                                                                                                                                                                                            false;
                                                                                                                                                                                                                                                        c.attention
                                                                                                                                                                                                                                                            .scale =
                                                                                                                                                                                                                                                            0.5;
                                                                                                                                                                                                                                                      }},
                                                                                                                                                                                                                                                  Variant{
                                                                                                                                                                                                                                                      "Scaled",
                                                                                                                                                                                                                                                      [](ModelConfig&
                                                                                                                                                                                                                                                             c) {
                                                                                                                                                                                                                                                        c.attention
                                                                                                                                                                                                                                                            .scale =
                                                                                                                                                                                                                                                            1.7;
                                                                                                                                                                                                                                                      }},
                                                                                                                                                                                                                                                  // sin and cos features are not positive, so the attention's own bound is wider
                                                                                                                                                                                                                                                  // (docs/architecture.md).
                                                                                                                                                                                                                                                  Variant{
                                                                                                                                                                                                                                                      "Trigonometric",
                                                                                                                                                                                                                                                      [](ModelConfig&
                                                                                                                                                                                                                                                             c) {
                                                                                                                                                                                                                                                        c.attention
                                                                                                                                                                                                                                                            .feature_map =
                                                                                                                                                                                                                                                            FeatureMap::
                                                                                                                                                                                                                                                                kTrf;
                                                                                                                                                                                                                                                        c.attention
                                                                                                                                                                                                                                                            .num_features =
                                                                                                                                                                                                                                                            64;
                                                                                                                                                                                                                                                      },
                                                                                                                                                                                                                                                      1e-4},
                                                                                                                                                                                                                                                  Variant{
                                                                                                                                                                                                                                                      "ShortTable",
                                                                                                                                                                                                                                                      [](ModelConfig&
                                                                                                                                                                                                                                                             c) {
                                                                                                                                                                                                                                                        c.attention
                                                                                                                                                                                                                                                            .max_distance =
                                                                                                                                                                                                                                                            5;
                                                                                                                                                                                                                                                      }},
                                                                                                                                                                                                                                                  Variant{"NoLayers",
                                                                                                                                                                                                                                                          [](ModelConfig&
                                                                                                                                                                                                                                                                 c) {
                                                                                                                                                                                                                                                            c.num_hidden_layers =
                                                                                                                                                                                                                                                                0;
                                                                                                                                                                                                                                                          }},
                                                                                                                                                                                                                                                  Variant{
                                                                                                                                                                                                                                                      "OneHead",
                                                                                                                                                                                                                                                      [](ModelConfig&
                                                                                                                                                                                                                                                             c) {
                                                                                                                                                                                                                                                        c.num_attention_heads =
                                                                                                                                                                                                                                                            1;
                                                                                                                                                                                                                                                      }})),
    VariantName);

TEST(EncoderTest, ChunksOfTokensDoNotShow) {
  ModelConfig config = testing::SmallModelConfig();
  config.num_hidden_layers = 1;
  config.max_length = 4096;
  const WeightMap weights = testing::RandomWeights(config, /*seed=*/30);
  const Encoder encoder = LoadEncoder(config, weights);
  std::mt19937 generator(31);
  const std::vector<int32_t> ids = RandomIds(1025, config.vocab_size, generator);
  const c10::InferenceMode inference;
  const at::Tensor hidden = encoder.Forward(ids, {1025});
  EXPECT_LE(RelativeError(hidden, 0, testing::ReferenceForward(config, weights, ids)), 1e-5);
}

TEST(EncoderTest, AProjectionPerHead) {
  ModelConfig config = testing::SmallModelConfig();
  WeightMap weights = testing::RandomWeights(config, /*seed=*/40);
  std::mt19937 generator(41);
  std::normal_distribution<float> normal;
  testing::FloatTensor& projection = weights.at("encoder.layers.1.attention.projection");
  projection.shape.insert(projection.shape.begin(), config.num_attention_heads);
  projection.values.resize(projection.values.size() * config.num_attention_heads);
  for (float& value : projection.values) value = normal(generator);
  const Encoder encoder = LoadEncoder(config, weights);
  const std::vector<int32_t> ids = RandomIds(50, config.vocab_size, generator);
  const c10::InferenceMode inference;
  EXPECT_LE(
      RelativeError(encoder.Forward(ids, {50}), 0, testing::ReferenceForward(config, weights, ids)),
      1e-5);
}

TEST(EncoderTest, NarrowWeightsAreWidened) {
  const ModelConfig config = testing::SmallModelConfig();
  for (const TensorType type : {TensorType::kFloat16, TensorType::kBFloat16}) {
    const WeightMap exact = testing::RandomWeights(config, /*seed=*/50);
    WeightMap rounded = exact;
    for (auto& [name, tensor] : rounded) {
      const bool wide =
          name.find("projection") != name.npos || name.find("relative_bias") != name.npos;
      if (wide) continue;
      for (float& value : tensor.values) value = testing::RoundTo(type, value);
    }
    const Encoder encoder = LoadEncoder(config, exact, type);
    std::mt19937 generator(51);
    const std::vector<int32_t> ids = RandomIds(40, config.vocab_size, generator);
    const c10::InferenceMode inference;
    const at::Tensor hidden = encoder.Forward(ids, {40});
    EXPECT_LE(RelativeError(hidden, 0, testing::ReferenceForward(config, rounded, ids)), 1e-5);
    EXPECT_GT(RelativeError(hidden, 0, testing::ReferenceForward(config, exact, ids)), 1e-5);
  }
}

TEST(EncoderTest, HeadsGiveTheSoftmaxOfTheirLogits) {
  const ModelConfig config = testing::SmallModelConfig();
  const WeightMap weights = testing::RandomWeights(config, /*seed=*/60);
  const Encoder encoder = LoadEncoder(config, weights);
  std::mt19937 generator(61);
  std::normal_distribution<float> normal;
  std::vector<float> pooled(2 * config.hidden_size);
  for (float& value : pooled) value = normal(generator);
  const c10::InferenceMode inference;
  const at::Tensor rows = at::from_blob(pooled.data(), {2, config.hidden_size}, at::kFloat);
  for (size_t head = 0; head < config.heads.size(); ++head) {
    Matrix expected;
    for (int64_t i = 0; i < 2; ++i) {
      std::vector<double> row = testing::ReferenceLogits(
          config.heads[head], weights,
          {pooled.begin() + i * config.hidden_size, pooled.begin() + (i + 1) * config.hidden_size});
      double sum = 0;
      for (double& value : row) sum += value = std::exp(value);
      for (double& value : row) value /= sum;
      expected.push_back(row);
    }
    EXPECT_LE(RelativeError(encoder.Classify(head, rows), 0, expected), 1e-5);
  }
}

TEST(PoolingTest, MeansAndFirstTokens) {
  std::mt19937 generator(70);
  std::normal_distribution<float> normal;
  std::vector<float> values(5 * 3);
  for (float& value : values) value = normal(generator);
  const c10::InferenceMode inference;
  const at::Tensor hidden = at::from_blob(values.data(), {5, 3}, at::kFloat);
  const at::Tensor pooled = PoolRows(
      hidden, {{1, 4, Pooling::kMean}, {2, 3, Pooling::kFirstToken}, {0, 1, Pooling::kMean}});
  Matrix expected(3, std::vector<double>(3));
  for (int c = 0; c < 3; ++c) {
    for (int t = 1; t < 5; ++t) expected[0][c] += values[t * 3 + c] / 4.0;
    expected[1][c] = values[2 * 3 + c];
    expected[2][c] = values[c];
  }
  EXPECT_LE(RelativeError(pooled, 0, expected), 1e-6);
}

}  // namespace
}  // namespace longwave
