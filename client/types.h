#ifndef LONGWAVE_CLIENT_TYPES_H_
#define LONGWAVE_CLIENT_TYPES_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

// What goes into a request and comes out of a response: plain values, no protobuf. The fields mean
// what proto/longwave/v1 says.
namespace longwave::client {

// One input of a request.
struct Document {
  enum class Kind { kText, kBytes, kTokenIds };

  // Text, in valid UTF-8, not empty. The server adds special tokens.
  static Document Text(std::string utf8) { return {Kind::kText, std::move(utf8), {}}; }
  // Bytes of any content, not empty; only byte-level models take them. The server adds special
  // tokens.
  static Document Bytes(std::string bytes) { return {Kind::kBytes, std::move(bytes), {}}; }
  // Token ids as they are, not empty, each in [0, vocabulary size).
  static Document Ids(std::vector<uint32_t> ids) { return {Kind::kTokenIds, {}, std::move(ids)}; }

  Kind kind = Kind::kText;
  std::string data;           // kText, kBytes
  std::vector<uint32_t> ids;  // kTokenIds
};

// A model by name and version. As a request: an empty name is the server's only model, version 0
// the newest.
struct ModelId {
  std::string name;
  int64_t version = 0;
};

// How long an input may be. By default a longer one than the model's max_length fails alone, with
// OUT_OF_RANGE.
struct Truncation {
  bool truncate = false;   // drop tokens from the end instead of failing
  int64_t max_tokens = 0;  // special tokens included; 0: the model's max_length
};

enum class Pooling { kModelDefault, kMean, kFirstToken, kNone };

// Element type on the wire. Results are float32 whatever is chosen.
enum class Precision { kFloat32, kFloat16, kBfloat16 };

struct EncodeOptions {
  ModelId model;
  Pooling pooling = Pooling::kModelDefault;
  bool normalize = false;  // divide every row by its Euclidean norm
  Precision precision = Precision::kFloat32;
  Truncation truncation;
};

struct ClassifyOptions {
  ModelId model;
  std::string head;  // empty: the model's only head
  int top_k = 0;     // labels per input; 0: all
  Truncation truncation;
};

// Embedding of one input.
struct EncodeResult {
  absl::Status status;        // the rest is empty unless OK
  std::vector<float> values;  // row-major [rows, cols]
  int64_t rows = 0;           // 1 when pooled, else the number of tokens
  int64_t cols = 0;           // the model's hidden_size
  int64_t tokens = 0;         // tokens that went through the model
  int64_t tokens_dropped = 0;
};

struct LabelScore {
  std::string label;
  int index = 0;
  float probability = 0;  // [0, 1]
};

// Labels of one input, most probable first.
struct ClassifyResult {
  absl::Status status;  // the rest is empty unless OK
  std::vector<LabelScore> labels;
  int64_t tokens = 0;
  int64_t tokens_dropped = 0;
};

struct Usage {
  int64_t tokens = 0;
  int64_t padded_tokens = 0;
  int64_t inputs = 0;  // served with status OK
};

// Where the time of a request went: the first four as the server measured them, `round_trip` as
// this client did, waits for a busy server included.
struct Timing {
  absl::Duration queue;
  absl::Duration tokenize;
  absl::Duration compute;
  absl::Duration total;
  absl::Duration round_trip;
};

// One result per document, in the order of the request.
struct EncodeReply {
  std::vector<EncodeResult> results;
  ModelId model;  // the one that answered
  Usage usage;
  Timing timing;
};

// One result per document, in the order of the request.
struct ClassifyReply {
  std::vector<ClassifyResult> results;
  ModelId model;  // the one that answered
  Usage usage;
  Timing timing;
};

struct ClassificationHead {
  std::string name;
  std::vector<std::string> labels;  // by index
};

// A model that the server has loaded.
struct ModelInfo {
  ModelId id;
  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  int64_t max_length = 0;  // tokens, special tokens included
  int64_t parameters = 0;
  std::string tokenizer;    // "byte", "ids", "sentencepiece"
  std::string pooling;      // "mean", "first_token", "none"
  std::string device;       // "cpu", "cuda:N", or several with commas in between
  std::string feature_map;  // "prf", "trf"
  std::vector<std::string> tasks;
  std::vector<ClassificationHead> heads;
};

// Layers, heads and lengths of a model whose attention is computed in one way.
struct AttentionPlan {
  std::vector<int> layers;
  std::vector<int> heads;
  std::vector<int64_t> lengths;  // tokens
  std::string algorithm;
  std::string reason;       // for people
  double error_bound = 0;   // as a share of the largest absolute value
  double predicted_ms = 0;  // summed over layers, heads and lengths
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_TYPES_H_
