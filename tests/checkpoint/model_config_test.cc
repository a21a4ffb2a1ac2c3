#include "model/checkpoint/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/support/files.h"
#include "tests/support/random_model.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using Json = nlohmann::json;

Json GoodConfig() { return Json::parse(testing::ConfigJson(testing::SmallModelConfig())); }

absl::StatusOr<ModelConfig> Parse(const Json& json) {
  return ParseModelConfig(json.dump(), "dir/config.json");
}

TEST(ModelConfigTest, ReadsEveryField) {
  ModelConfig config = testing::SmallModelConfig();
  config.hidden_act = HiddenActivation::kGeluTanh;
  config.layer_norm_eps = 1e-6;
  config.norm_position = NormPosition::kPost;
  config.max_position_embeddings = 600;
  config.attention = {FeatureMap::kTrf, 24, false, 1.5, true, true, true, 100};
  config.pooling = Pooling::kFirstToken;
  config.can_encode = false;
  config.tokenizer.suffix_ids = {258, 259};
  const absl::StatusOr<ModelConfig> read =
      ParseModelConfig(testing::ConfigJson(config), "config.json");
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(testing::ConfigJson(*read), testing::ConfigJson(config));
  EXPECT_TRUE(read->warnings.empty());
}

TEST(ModelConfigTest, FillsInTheDefaults) {
  Json json = GoodConfig();
  for (const char* key : {"hidden_act", "layer_norm_eps", "embedding_norm",
                          "max_position_embeddings", "tasks", "pooling", "heads"}) {
    json.erase(key);
  }
  for (const char* key : {"scale", "causal", "shared_projection", "shared_bias"}) {
    json["attention"].erase(key);
  }
  json["norm_position"] = "post";
  const absl::StatusOr<ModelConfig> config = Parse(json);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->hidden_act, HiddenActivation::kGelu);
  EXPECT_EQ(config->layer_norm_eps, 1e-5);
  EXPECT_TRUE(config->embedding_norm);
  EXPECT_EQ(config->max_position_embeddings, 0);
  EXPECT_TRUE(config->can_encode);
  EXPECT_FALSE(config->can_classify);
  EXPECT_EQ(config->pooling, Pooling::kMean);
  EXPECT_EQ(config->attention.scale, 1.0);
  EXPECT_FALSE(config->attention.causal || config->attention.shared_projection ||
               config->attention.shared_bias);
}

TEST(ModelConfigTest, HeadsAloneMakeItClassify) {
  Json json = GoodConfig();
  json.erase("tasks");
  const absl::StatusOr<ModelConfig> config = Parse(json);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->can_classify);
  EXPECT_THAT(config->heads[0].labels, ElementsAre("prose", "code", "data"));
}

TEST(ModelConfigTest, UnknownKeysAreWarningsOutsideOfTheAttention) {
  Json json = GoodConfig();
  json["torch_dtype"] = "float32";
  json["heads"][0]["colour"] = 1;
  json["tokenizer"]["lowercase"] = true;
  const absl::StatusOr<ModelConfig> config = Parse(json);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_THAT(config->warnings,
              ElementsAre(HasSubstr("heads[0].colour"), HasSubstr("tokenizer.lowercase"),
                          HasSubstr("dir/config.json: torch_dtype: unknown key")));
}

TEST(ModelConfigTest, EveryRequiredKeyIsNamedWhenMissing) {
  const auto message_without = [](const char* pointer) {
    Json json = GoodConfig();
    const Json::json_pointer path(pointer);
    json.at(path.parent_pointer()).erase(path.back());
    const absl::Status status = Parse(json).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << pointer;
    return std::string(status.message());
  };
  for (const char* key : {"format_version", "hidden_size", "num_hidden_layers",
                          "num_attention_heads", "intermediate_size", "norm_position", "vocab_size",
                          "max_length", "attention", "tokenizer"}) {
    EXPECT_EQ(message_without((std::string("/") + key).c_str()),
              std::string("dir/config.json: ") + key + ": missing, and it has no default");
  }
  for (const char* key : {"feature_map", "num_features", "normalize", "max_distance"}) {
    EXPECT_THAT(message_without((std::string("/attention/") + key).c_str()),
                HasSubstr(std::string("attention.") + key + ": missing"));
  }
  EXPECT_THAT(message_without("/tokenizer/type"), HasSubstr("tokenizer.type: missing"));
  EXPECT_THAT(message_without("/heads/0/name"), HasSubstr("heads[0].name: missing"));
  EXPECT_THAT(message_without("/heads/1/id2label"), HasSubstr("heads[1].id2label: missing"));
}

// A change that makes a good config bad, and what the error says.
struct BadConfig {
  const char* what;
  std::function<void(Json&)> change;
  const char* message;
};

class BadConfigTest : public ::testing::TestWithParam<BadConfig> {};

TEST_P(BadConfigTest, IsRefused) {
  Json json = GoodConfig();
  GetParam().change(json);
  const absl::Status status = Parse(json).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
  EXPECT_THAT(std::string(status.message()), HasSubstr("dir/config.json: "));
}

INSTANTIATE_TEST_SUITE_P(
    ModelConfig, BadConfigTest,
    ::testing::Values(
        BadConfig{"NewerFormat", [](Json& j) { j["format_version"] = 2; },
                  "format_version: found 2, expected at most 1"},
        BadConfig{"FormatZero", [](Json& j) { j["format_version"] = 0; },
                  "format_version: found 0"},
        BadConfig{"ModelType", [](Json& j) { j["model_type"] = "bert"; },
                  "model_type: found 'bert'"},
        BadConfig{"AttentionKey", [](Json& j) { j["attention"]["window"] = 3; },
                  "attention.window: unknown"},
        BadConfig{"AttentionType", [](Json& j) { j["attention"] = 3; },
                  "attention: found 3, expected an object"},
        BadConfig{"NormEps", [](Json& j) { j["attention"]["norm_eps"] = 1e-6; },
                  "attention.norm_eps: expected 1e-12"},
        BadConfig{"FeatureMap", [](Json& j) { j["attention"]["feature_map"] = "orf"; },
                  "attention.feature_map: found \"orf\", expected 'prf' or 'trf'"},
        BadConfig{"Scale", [](Json& j) { j["attention"]["scale"] = 0; },
                  "attention.scale: found 0, expected a number above 0"},
        BadConfig{"Distance", [](Json& j) { j["attention"]["max_distance"] = 1 << 25; },
                  "attention.max_distance: found 33554432"},
        BadConfig{"StringForInt", [](Json& j) { j["hidden_size"] = "32"; },
                  "hidden_size: found \"32\", expected an integer from 1 to 65536"},
        BadConfig{"FloatForInt", [](Json& j) { j["hidden_size"] = 32.0; },
                  "hidden_size: found 32.0"},
        BadConfig{"NegativeInt", [](Json& j) { j["num_hidden_layers"] = -1; },
                  "num_hidden_layers: found -1, expected an integer from 0 to 1024"},
        BadConfig{"HugeInt", [](Json& j) { j["vocab_size"] = UINT64_MAX; },
                  "vocab_size: found 18446744073709551615"},
        BadConfig{"IntForBool", [](Json& j) { j["embedding_norm"] = 1; },
                  "embedding_norm: found 1, expected true or false"},
        BadConfig{"HeadsDoNotDivide", [](Json& j) { j["num_attention_heads"] = 5; },
                  "hidden_size: found 32, expected a multiple of the 5 attention heads"},
        BadConfig{"LongerThanPositions", [](Json& j) { j["max_position_embeddings"] = 511; },
                  "max_length: found 512, expected at most max_position_embeddings"},
        BadConfig{"NoTask", [](Json& j) { j["tasks"] = Json::array(); }, "tasks: found no task"},
        BadConfig{"UnknownTask", [](Json& j) { j["tasks"] = {"generate"}; }, "tasks:"},
        BadConfig{"ClassifyWithoutHeads", [](Json& j) { j["heads"] = Json::array(); },
                  "the model has no heads"},
        BadConfig{"SameHead", [](Json& j) { j["heads"][1]["name"] = "topic"; },
                  "heads[1].name: found 'topic' again"},
        BadConfig{"HeadPooling", [](Json& j) { j["heads"][0]["pooling"] = "none"; },
                  "heads[0].pooling: found 'none'"},
        BadConfig{"HeadNotAnObject", [](Json& j) { j["heads"][0] = 1; }, "heads[0]"},
        BadConfig{"NoLabels", [](Json& j) { j["heads"][0]["id2label"] = Json::object(); },
                  "heads[0].id2label: found no label"},
        BadConfig{"LabelMissing", [](Json& j) { j["heads"][0]["id2label"].erase("1"); },
                  "found 2 labels but no key '1'"},
        BadConfig{"LabelKey",
                  [](Json& j) {
                    j["heads"][0]["id2label"].erase("2");
                    j["heads"][0]["id2label"]["02"] = "x";
                  },
                  "found 3 labels but no key '2'"},
        BadConfig{"LabelTwice", [](Json& j) { j["heads"][0]["id2label"]["2"] = "prose"; },
                  "heads[0].id2label.2: found 'prose' again"},
        BadConfig{"LabelEmpty", [](Json& j) { j["heads"][0]["id2label"]["0"] = ""; },
                  "heads[0].id2label.0: expected a string"},
        BadConfig{"LabelNumber", [](Json& j) { j["heads"][0]["id2label"]["0"] = 5; },
                  "heads[0].id2label.0: expected a string"},
        BadConfig{"SmallByteVocabulary",
                  [](Json& j) {
                    j["vocab_size"] = 255;
                    j["tokenizer"].erase("prefix_ids");
                  },
                  "vocab_size: found 255, expected at least 256"},
        BadConfig{"PrefixOutOfRange", [](Json& j) { j["tokenizer"]["prefix_ids"] = {260}; },
                  "tokenizer.prefix_ids: found 260, expected integers from 0 to 259"},
        BadConfig{"PrefixFillsAll", [](Json& j) { j["max_length"] = 1; }, "leave no room"},
        BadConfig{"NoTokenizerFile", [](Json& j) { j["tokenizer"]["type"] = "sentencepiece"; },
                  "tokenizer.file: missing"},
        BadConfig{"TokenizerPath",
                  [](Json& j) {
                    j["tokenizer"] = {{"type", "sentencepiece"}, {"file", "../other/model"}};
                  },
                  "tokenizer.file: found '../other/model', expected the name of a file"},
        BadConfig{"LongValue", [](Json& j) { j["hidden_act"] = std::string(100000, 'x'); },
                  "xxx..., expected 'gelu' or 'gelu_tanh'"}),
    [](const ::testing::TestParamInfo<BadConfig>& info) { return info.param.what; });

TEST(ModelConfigTest, RefusesWhatIsNotAJsonObject) {
  for (const char* text : {"", "{", "[]", "3", "{\"a\":1,\"a\":2}", "{\"a\":1e999}", "nul"}) {
    const absl::Status status = ParseModelConfig(text, "config.json").status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("config.json: ")) << text;
  }
  std::string deep;
  for (int i = 0; i < 100000; ++i) deep += "{\"a\":";
  EXPECT_THAT(std::string(ParseModelConfig(deep, "config.json").status().message()),
              HasSubstr("nested deeper"));
}

TEST(ModelConfigTest, LoadSaysWhichFileIsMissing) {
  const testing::TempFolder folder;
  const absl::Status status = LoadModelConfig(folder.path()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr(folder.path() + "/config.json"));
}

}  // namespace
}  // namespace longwave
