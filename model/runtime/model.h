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
  std::string dtype;            // of the activations: "float32", "bfloat16", "float16"
  std::string feature_map;      // "prf", "trf"

  // A background run and others share the device by priority (streams of a GPU), so that nobody has
  // to wait in RunControl::Continue() for others to run.
  bool shares_device = false;

  // Bytes of the device that were free for runs when the model was loaded; 0: not known.
  int64_t free_memory = 0;

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

// Steers a run that is under way.
class RunControl {
 public:
  virtual ~RunControl() = default;

  // Called again and again during a run, on the thread that called Model::Run, which holds no lock
  // of the model; between two calls lies no more work than one pass over 512 tokens. May block, and
  // may call Run of any model meanwhile. False: nobody waits for the batch any more; the run is not
  // to ask again and ends soon. Must not throw.
  virtual bool Continue() = 0;

  // Whether others use the device, too, or wait for it: then the run queues nothing ahead of what
  // the device computes, so that they wait for little. Never blocks.
  virtual bool crowded() const { return false; }
};

struct RunOptions {
  RunControl* control = nullptr;  // not owned; null: the run never stops

  // Runs that are not in the background go first where the device can share itself.
  bool background = false;
};

// What a batch costs depends on these.
struct BatchShape {
  int64_t sequences = 0;
  int64_t tokens = 0;   // of all sequences
  int64_t longest = 0;  // tokens of the longest sequence
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

// A trained model on a device: packed batch in, vectors out. Thread-safe.
class Model {
 public:
  struct Options {
    // Where to run: "cpu", "cuda:N", or "auto", the first GPU that can be used or else the CPU.
    std::string device = "cpu";

    // Of the activations and of what multiplies them: "float32", "bfloat16", "float16", or "auto",
    // which is bfloat16 on a GPU and float32 on the CPU.
    std::string dtype = "auto";

    // Bytes of a GPU that this process may take, for all models; 0: all there are. The last
    // model that is loaded with a limit sets it.
    int64_t device_memory_limit = 0;

    // Threads of one forward pass. 0: one per core.
    int threads = 0;

    // Computes every sequence in the same steps whoever shares its batch, so that results are equal
    // to the bit. Costs throughput where sequences are short (docs/operations.md).
    bool batch_invariant = false;

    absl::Status Validate() const;
  };

  // Loads a model folder (docs/model-format.md). Blocks; reads the whole folder. Errors name the
  // file, the tensor or key, what was found and what was expected: NOT_FOUND (no such folder or
  // file), INVALID_ARGUMENT (a folder that can never work), RESOURCE_EXHAUSTED (no memory for it),
  // UNAVAILABLE (no such device, and why).
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

  // Bytes of the device that a run of such a batch takes at its peak, beside the weights, its
  // results not counted; never too few by more than a tenth. Monotonic in every argument. Never
  // blocks.
  virtual int64_t EstimateMemory(const BatchShape& shape) const = 0;

  // Predicted time of a sequence of `tokens` tokens (1 to max_length) within a large batch. Only
  // ratios are relied on: the caller learns the scale from what it measures. Never blocks.
  virtual double PredictMilliseconds(int64_t tokens) const = 0;

  // Runs all items as one packed batch, without padding; returns one result per item, in order.
  // Blocks for the whole forward pass. Never throws. Results do not depend on who shared the batch
  // beyond 1e-5 of the largest absolute value of a row (float32; 3e-2 in bfloat16, 4e-3 in
  // float16), not at all with Options::batch_invariant. May be called while another thread runs,
  // and from within RunControl::Continue(); on a device that does not share itself each then takes
  // longer.
  //
  // What fails the batch as a whole is put in every item's status: RESOURCE_EXHAUSTED, the device
  // had no memory for it (all that it took is given back, a smaller batch may fit); CANCELLED, as
  // `options.control` said; INTERNAL, the device failed.
  virtual std::vector<RunResult> Run(absl::Span<const RunItem> items,
                                     const RunOptions& options) = 0;
  std::vector<RunResult> Run(absl::Span<const RunItem> items) { return Run(items, RunOptions()); }
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_RUNTIME_MODEL_H_
