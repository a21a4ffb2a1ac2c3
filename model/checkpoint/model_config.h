#ifndef LONGWAVE_MODEL_CHECKPOINT_MODEL_CONFIG_H_
#define LONGWAVE_MODEL_CHECKPOINT_MODEL_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/checkpoint/pooling.h"

namespace longwave {

enum class FeatureMap { kPrf, kTrf };
enum class HiddenActivation { kGelu, kGeluTanh };
enum class NormPosition { kPre, kPost };
enum class TokenizerType { kByte, kIds, kSentencePiece };

// The names in config.json: "prf", "byte", ...
absl::string_view Name(FeatureMap value);
absl::string_view Name(HiddenActivation value);
absl::string_view Name(NormPosition value);
absl::string_view Name(TokenizerType value);
absl::string_view Name(Pooling value);

struct AttentionConfig {
  FeatureMap feature_map = FeatureMap::kPrf;
  int64_t num_features = 0;
  bool normalize = true;
  double scale = 1.0;
  bool causal = false;
  bool shared_projection = false;
  bool shared_bias = false;
  int64_t max_distance = 0;
};

struct HeadConfig {
  std::string name;
  Pooling pooling = Pooling::kMean;  // never kNone
  bool dense = false;
  std::vector<std::string> labels;  // by index
};

struct TokenizerConfig {
  TokenizerType type = TokenizerType::kByte;
  std::string file;                 // a bare file name; SentencePiece only
  std::vector<int32_t> prefix_ids;  // each in [0, vocab_size)
  std::vector<int32_t> suffix_ids;
};

// What config.json says (docs/model-format.md describes every field), with the defaults filled in.
struct ModelConfig {
  int64_t hidden_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t intermediate_size = 0;
  HiddenActivation hidden_act = HiddenActivation::kGelu;
  double layer_norm_eps = 1e-5;
  NormPosition norm_position = NormPosition::kPre;
  bool embedding_norm = false;
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  int64_t max_length = 0;
  AttentionConfig attention;
  bool can_encode = true;
  bool can_classify = false;
  Pooling pooling = Pooling::kMean;
  std::vector<HeadConfig> heads;
  TokenizerConfig tokenizer;

  // What was found and is not used: keys that this version does not know.
  std::vector<std::string> warnings;

  int64_t head_dim() const { return hidden_size / num_attention_heads; }
};

// The name of the file in a model folder, and the largest that is read.
inline constexpr char kConfigFile[] = "config.json";
inline constexpr int64_t kMaxConfigBytes = int64_t{16} << 20;

// Reads the text of a config.json; `where` is its path for messages. Every number is checked
// against the range that model-format.md gives, so no product of two sizes overflows.
// INVALID_ARGUMENT naming the key, what was found and what was expected.
absl::StatusOr<ModelConfig> ParseModelConfig(absl::string_view text, const std::string& where);

// Reads `folder`/config.json. NOT_FOUND without it.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& folder);

}  // namespace longwave

#endif  // LONGWAVE_MODEL_CHECKPOINT_MODEL_CONFIG_H_
