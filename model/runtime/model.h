#ifndef LONGWAVE_MODEL_RUNTIME_MODEL_H_
#define LONGWAVE_MODEL_RUNTIME_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/checkpoint/pooling.h"
#include "model/tokenizer/tokenizer.h"

namespace longwave {

enum class Task { kEncode, kClassify };

// A classification head: its name and its labels by index.
struct HeadInfo {
  std::string name;
  std::vector<std::string> labels;
};

// What a loaded model is. The server's wire message ModelInfo is made from it.
struct ModelInfo {
  int64_t hidden_size = 0;
  int64_t vocab_size = 0;
  int64_t max_length = 0;  // longest sequence in tokens, special tokens included
  int64_t parameters = 0;
  Pooling default_pooling = Pooling::kMean;
  bool can_encode = true;
  std::vector<HeadInfo> heads;  // empty: the model cannot classify
  std::string device;           // "cpu", "cuda:N"
  std::string feature_map;      // "prf", "trf"

  // What the loader found in the folder and does not use, one sentence each; for the log.
  std::vector<std::string> warnings;
};

// One sequence of a batch and what is wanted of it.
struct RunItem {
  // 1 to max_length ids, each in [0, vocab_size). Not owned; must outlive Run.
  absl::Span<const int32_t> tokens;
  Task task = Task::kEncode;
  Pooling pooling = Pooling::kMean;  // kEncode only
  bool normalize = false;  // kEncode only: divide every row by its L2 norm (a zero row stays zero)
  int head = 0;            // kClassify only: index into ModelInfo::heads
};

// What became of one RunItem, a row-major matrix [rows, cols]. A bad item fails alone:
// INVALID_ARGUMENT (no tokens, an id out of range, no such head, a task that the model does not
// serve), OUT_OF_RANGE (longer than max_length), INTERNAL (the model's output has a NaN or an
// infinity in it).
//   kEncode:   [1, hidden_size], or [tokens, hidden_size] with Pooling::kNone
//   kClassify: [1, labels], probabilities that sum to 1
struct RunResult {
  absl::Status status;
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<float> values;  // empty unless status is OK
};

// Layers, heads and lengths whose attention is computed in one way.
struct AttentionPlan {
  std::vector<int> layers;       // ascending
  std::vector<int> heads;        // ascending
  std::vector<int64_t> lengths;  // in the caller's order
  std::string algorithm;
  std::string reason;       // for people
  double error_bound = 0;   // as a share of max|v|
  double predicted_ms = 0;  // summed over layers, heads and lengths
};

// A trained model on a device: packed batch in, vectors out.
//
// Thread-compatible for Run (one caller at a time), thread-safe for everything else.
class Model {
 public:
  struct Options {
    // Where to run. "cpu" so far.
    std::string device = "cpu";

    // Threads of one forward pass. 0: one per core.
    int threads = 0;

    absl::Status Validate() const;
  };

  // Loads a model folder (docs/model-format.md). Blocks; reads the whole folder. Errors name the
  // file, the tensor or key, what was found and what was expected: NOT_FOUND (no such folder or
  // file), INVALID_ARGUMENT (a folder that can never work), RESOURCE_EXHAUSTED (no memory for it).
  static absl::StatusOr<std::unique_ptr<Model>> Load(const std::string& folder,
                                                     const Options& options);

  virtual ~Model() = default;

  virtual const ModelInfo& info() const = 0;
  virtual const Tokenizer& tokenizer() const = 0;

  // How the attention of sequences of these lengths would be computed, without running it. Every
  // combination of layer, head and length is in exactly one plan. INVALID_ARGUMENT when a length is
  // not in [1, max_length].
  virtual absl::StatusOr<std::vector<AttentionPlan>> PlanAttention(
      absl::Span<const int64_t> lengths) const = 0;

  // Runs all items as one packed batch, without padding; returns one result per item, in order.
  // Blocks for the whole forward pass. Never throws. Results do not depend on who shared the batch
  // beyond 1e-5 of the largest absolute value of a row (float32). A failure of the device as a
  // whole is put in every item's status.
  virtual std::vector<RunResult> Run(absl::Span<const RunItem> items) = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_MODEL_H_
