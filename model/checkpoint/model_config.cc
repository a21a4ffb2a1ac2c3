#include "model/checkpoint/model_config.h"

#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "model/checkpoint/config_object.h"
#include "model/checkpoint/folder_file.h"
#include "model/checkpoint/strict_json.h"

namespace longwave {
namespace {

using Json = nlohmann::json;

template <typename Enum>
using Names = std::vector<std::pair<const char*, Enum>>;

// The first format, and the newest that this code reads.
constexpr int64_t kFormatVersion = 1;

// Upper ends of the ranges; the product of any two of them, times a few bytes, fits into int64.
constexpr int64_t kMaxWidth = 65536;
constexpr int64_t kMaxIntermediate = int64_t{1} << 20;
constexpr int64_t kMaxLayers = 1024;
constexpr int64_t kMaxVocabulary = INT32_MAX;
constexpr int64_t kMaxTokens = int64_t{1} << 24;

// The only value of attention.norm_eps: the operator's own.
constexpr double kNormEps = 1e-12;

const Names<FeatureMap>& FeatureMaps() {
  static const auto* const names =
      new Names<FeatureMap>{{"prf", FeatureMap::kPrf}, {"trf", FeatureMap::kTrf}};
  return *names;
}

const Names<HiddenActivation>& Activations() {
  static const auto* const names = new Names<HiddenActivation>{
      {"gelu", HiddenActivation::kGelu}, {"gelu_tanh", HiddenActivation::kGeluTanh}};
  return *names;
}

const Names<NormPosition>& NormPositions() {
  static const auto* const names =
      new Names<NormPosition>{{"pre", NormPosition::kPre}, {"post", NormPosition::kPost}};
  return *names;
}

const Names<TokenizerType>& TokenizerTypes() {
  static const auto* const names =
      new Names<TokenizerType>{{"byte", TokenizerType::kByte},
                               {"ids", TokenizerType::kIds},
                               {"sentencepiece", TokenizerType::kSentencePiece}};
  return *names;
}

const Names<Pooling>& Poolings() {
  static const auto* const names = new Names<Pooling>{
      {"mean", Pooling::kMean}, {"first_token", Pooling::kFirstToken}, {"none", Pooling::kNone}};
  return *names;
}

template <typename Enum>
absl::string_view NameIn(const Names<Enum>& names, Enum value) {
  for (const auto& [name, candidate] : names) {
    if (candidate == value) return name;
  }
  return "";
}

AttentionConfig ReadAttention(const Json& value, ConfigErrors* errors) {
  ConfigObject object(value, "attention.", errors);
  AttentionConfig attention;
  attention.feature_map = object.Choice("feature_map", FeatureMaps());
  attention.num_features = object.Int("num_features", 1, kMaxWidth);
  attention.normalize = object.Bool("normalize");
  if (object.PositiveNumber("norm_eps", kNormEps) != kNormEps) {
    object.Error("norm_eps", "expected 1e-12, the only value of this version");
  }
  attention.scale = object.PositiveNumber("scale", 1.0);
  attention.causal = object.Bool("causal", false);
  attention.shared_projection = object.Bool("shared_projection", false);
  attention.shared_bias = object.Bool("shared_bias", false);
  attention.max_distance = object.Int("max_distance", 1, kMaxTokens);
  // A key that this code does not know would change what the weights mean.
  for (const std::string& key : object.UnknownKeys()) {
    errors->Add(key, "unknown; the attention would not be the one that was trained");
  }
  return attention;
}

// id2label: the keys are "0" to "labels - 1", each once.
std::vector<std::string> ReadLabels(const Json& value, ConfigObject& head) {
  std::vector<std::string> labels;
  std::set<std::string> seen;
  for (size_t i = 0; i < value.size(); ++i) {
    const auto found = value.find(absl::StrCat(i));
    if (found == value.end()) {
      head.Error("id2label", absl::StrCat("found ", value.size(), " labels but no key '", i,
                                          "', expected the keys '0' to '", value.size() - 1, "'"));
      return {};
    }
    if (!found->is_string() || found->get_ref<const std::string&>().empty()) {
      head.Error(absl::StrCat("id2label.", i), "expected a string of at least one character");
      return {};
    }
    labels.push_back(found->get<std::string>());
    if (!seen.insert(labels.back()).second) {
      head.Error(absl::StrCat("id2label.", i),
                 absl::StrCat("found '", labels.back(), "' again, expected another label"));
      return {};
    }
  }
  if (labels.empty()) head.Error("id2label", "found no label, expected at least one");
  return labels;
}

void ReadHeads(const Json& list, ModelConfig* config, ConfigErrors* errors) {
  std::set<std::string> names;
  for (size_t i = 0; i < list.size(); ++i) {
    ConfigObject object(list[i], absl::StrCat("heads[", i, "]."), errors);
    HeadConfig head;
    head.name = object.String("name");
    if (!names.insert(head.name).second) {
      object.Error("name", absl::StrCat("found '", head.name, "' again, expected another name"));
    }
    head.pooling = object.Choice("pooling", Poolings(), std::optional(Pooling::kMean));
    if (head.pooling == Pooling::kNone) {
      object.Error("pooling", "found 'none', expected 'mean' or 'first_token'");
    }
    head.dense = object.Bool("dense", false);
    head.labels = ReadLabels(object.Object("id2label"), object);
    config->heads.push_back(std::move(head));
    for (std::string& key : object.UnknownKeys()) config->warnings.push_back(std::move(key));
  }
}

void ReadTasks(const Json& list, bool given, ModelConfig* config, ConfigErrors* errors) {
  if (!given) {
    config->can_classify = !config->heads.empty();
    return;
  }
  config->can_encode = false;
  for (const Json& task : list) {
    if (task == "encode") {
      config->can_encode = true;
    } else if (task == "classify") {
      config->can_classify = true;
    } else {
      errors->Add("tasks", "expected a list of 'encode' and 'classify'");
      return;
    }
  }
  if (!config->can_encode && !config->can_classify) {
    errors->Add("tasks", "found no task, expected 'encode' or 'classify'");
  }
  if (config->can_classify && config->heads.empty()) {
    errors->Add("tasks", "found 'classify', but the model has no heads");
  }
}

void ReadTokenizer(const Json& value, ModelConfig* config, ConfigErrors* errors) {
  ConfigObject object(value, "tokenizer.", errors);
  TokenizerConfig& tokenizer = config->tokenizer;
  tokenizer.type = object.Choice("type", TokenizerTypes());
  const auto last_id = static_cast<int32_t>(config->vocab_size - 1);
  if (tokenizer.type == TokenizerType::kSentencePiece) {
    tokenizer.file = object.String("file");
    if (absl::Status status = ValidateFileName(tokenizer.file); !status.ok()) {
      object.Error("file", status.message());
    }
  }
  if (tokenizer.type != TokenizerType::kIds) {
    tokenizer.prefix_ids = object.IntList("prefix_ids", 0, last_id);
    tokenizer.suffix_ids = object.IntList("suffix_ids", 0, last_id);
  }
  const auto specials =
      static_cast<int64_t>(tokenizer.prefix_ids.size() + tokenizer.suffix_ids.size());
  if (specials >= config->max_length) {
    object.Error("prefix_ids",
                 absl::StrCat("found ", specials,
                              " prefix and suffix ids, which leave no room in a max_length of ",
                              config->max_length));
  }
  constexpr int64_t kBytes = 256;
  if (tokenizer.type == TokenizerType::kByte && config->vocab_size < kBytes) {
    errors->Add("vocab_size", absl::StrCat("found ", config->vocab_size,
                                           ", expected at least 256 for the byte tokenizer"));
  }
  for (std::string& key : object.UnknownKeys()) config->warnings.push_back(std::move(key));
}

void ReadArchitecture(ConfigObject& top, ModelConfig* config) {
  config->hidden_size = top.Int("hidden_size", 1, kMaxWidth);
  config->num_hidden_layers = top.Int("num_hidden_layers", 0, kMaxLayers);
  config->num_attention_heads = top.Int("num_attention_heads", 1, kMaxWidth);
  config->intermediate_size = top.Int("intermediate_size", 1, kMaxIntermediate);
  config->hidden_act =
      top.Choice("hidden_act", Activations(), std::optional(HiddenActivation::kGelu));
  config->layer_norm_eps = top.PositiveNumber("layer_norm_eps", 1e-5);
  config->norm_position = top.Choice("norm_position", NormPositions());
  config->embedding_norm = top.Bool("embedding_norm", config->norm_position == NormPosition::kPost);
  config->vocab_size = top.Int("vocab_size", 1, kMaxVocabulary);
  config->max_position_embeddings = top.Int("max_position_embeddings", 0, kMaxTokens, 0);
  config->max_length = top.Int("max_length", 1, kMaxTokens);
  config->pooling = top.Choice("pooling", Poolings(), std::optional(Pooling::kMean));
  if (config->hidden_size % config->num_attention_heads != 0) {
    top.Error("hidden_size",
              absl::StrCat("found ", config->hidden_size, ", expected a multiple of the ",
                           config->num_attention_heads, " attention heads"));
  }
  if (config->max_position_embeddings > 0 && config->max_length > config->max_position_embeddings) {
    top.Error("max_length", absl::StrCat("found ", config->max_length,
                                         ", expected at most max_position_embeddings, which is ",
                                         config->max_position_embeddings));
  }
}

}  // namespace

absl::string_view Name(FeatureMap value) { return NameIn(FeatureMaps(), value); }
absl::string_view Name(HiddenActivation value) { return NameIn(Activations(), value); }
absl::string_view Name(NormPosition value) { return NameIn(NormPositions(), value); }
absl::string_view Name(TokenizerType value) { return NameIn(TokenizerTypes(), value); }
absl::string_view Name(Pooling value) { return NameIn(Poolings(), value); }

absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, const std::string& where) {
  const absl::StatusOr<Json> json = ParseStrictJson(text, where);
  if (!json.ok()) return json.status();

  ConfigErrors errors(where);
  ConfigObject top(*json, "", &errors);
  ModelConfig config;
  // First: under another version nothing else can be understood.
  const int64_t version = top.Int("format_version", 1, INT64_MAX);
  if (version > kFormatVersion) {
    top.Error("format_version",
              absl::StrCat("found ", version, ", expected at most ", kFormatVersion,
                           ": the model was made for a newer release"));
  }
  constexpr char kModelType[] = "longwave_encoder";
  if (const std::string type = top.String("model_type", kModelType); type != kModelType) {
    top.Error("model_type", absl::StrCat("found '", type, "', expected '", kModelType, "'"));
  }
  ReadArchitecture(top, &config);
  config.attention = ReadAttention(top.Object("attention"), &errors);
  ReadHeads(top.List("heads", /*required=*/false), &config, &errors);
  ReadTasks(top.List("tasks", /*required=*/false), top.Has("tasks"), &config, &errors);
  ReadTokenizer(top.Object("tokenizer"), &config, &errors);
  for (std::string& key : top.UnknownKeys()) config.warnings.push_back(std::move(key));
  if (!errors.status().ok()) return errors.status();

  for (std::string& warning : config.warnings) {
    warning = absl::StrCat(where, ": ", warning, ": unknown key, ignored");
  }
  return config;
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& folder) {
  const absl::StatusOr<std::string> text = ReadFolderFile(folder, kConfigFile, kMaxConfigBytes);
  if (!text.ok()) return text.status();
  return ParseModelConfig(*text, FolderFilePath(folder, kConfigFile));
}

}  // namespace longwave
