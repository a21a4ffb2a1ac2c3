// How long a long input keeps short ones waiting on the CPU: the longest time between two
// checkpoints of each attention algorithm, beside a model's pass over 512 tokens, which no gap is
// to exceed (model/runtime/model.h, RunControl).
//
//   build/cpu-release/bench/checkpoint_gaps [THREADS [MODEL [ALGORITHM]]]
//   build/cpu-release/bench/checkpoint_gaps 2 bert-base fft     a part of it
//
// Writes JSON. Takes about three minutes on two cores. What takes longer than kPatience is stopped
// at a checkpoint. Each longest gap is the least of some runs, as other work on the machine only
// adds.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <utility>
#include <vector>

#include "model/attention/checkpoint.h"
#include "model/attention/operators.h"

namespace longwave::attention {
namespace {

using Clock = std::chrono::steady_clock;
using Milliseconds = std::chrono::duration<double, std::milli>;

constexpr Milliseconds kPatience{3000};
constexpr int kRuns = 3;

struct ModelShape {
  const char* name;
  int64_t layers, heads, dim, features, inner;
  int64_t width() const { return heads * dim; }
};

constexpr ModelShape kShapes[] = {{"file-type", 4, 6, 32, 32, 768},
                                  {"bert-base", 12, 12, 64, 64, 3072}};

// float32 [heads, 2n-1].
at::Tensor Distances(int64_t n) { return at::arange(1 - n, n, at::kFloat); }

at::Tensor Noise(int64_t heads, int64_t n) { return at::randn({heads, 2 * n - 1}); }

at::Tensor Clipped(int64_t heads, int64_t n) {
  constexpr int64_t kReach = 128;
  const at::Tensor t = Distances(n).clamp(-kReach, kReach).to(at::kLong) + kReach;
  return at::randn({heads, 2 * kReach + 1}).index_select(1, t);
}

at::Tensor Smooth(int64_t heads, int64_t n) {
  return ((Distances(n).abs() + 1).log() * -0.5).expand({heads, -1}).contiguous();
}

struct Case {
  const char* algorithm;
  at::Tensor (*table)(int64_t heads, int64_t n);
};

constexpr Case kCases[] = {
    {"structured", Clipped}, {"low_rank", Smooth}, {"fft", Noise}, {"direct", Noise}};

// The times between checkpoints of what runs in its scope.
class GapMeter {
 public:
  struct Stopped {};

  void Tick() {
    const Clock::time_point now = Clock::now();
    longest_ = std::max(longest_, Milliseconds(now - last_));
    last_ = now;
    ++count_;
    if (now - start_ > kPatience) throw Stopped();
  }

  double longest_ms() const { return longest_.count(); }
  int64_t count() const { return count_; }

 private:
  const Clock::time_point start_ = Clock::now();
  Clock::time_point last_ = start_;
  Milliseconds longest_{0};
  int64_t count_ = 0;
};

struct Inputs {
  Inputs(const ModelShape& shape, int64_t n)
      : q(at::randn({1, n, shape.heads, shape.dim})),
        k(at::randn({1, n, shape.heads, shape.dim})),
        v(at::randn({1, n, shape.heads, shape.dim})),
        w(at::randn({shape.features, shape.dim})) {}
  at::Tensor q, k, v, w;
};

at::Tensor Attend(const Inputs& in, const c10::intrusive_ptr<RelativeBias>& bias,
                  const char* algorithm) {
  AttentionOptions options;
  options.algorithm = algorithm;
  return RpeAttention(in.q, in.k, in.v, in.w, bias, std::nullopt, std::nullopt, options);
}

// The products and the attention of a pass over 512 tokens.
double PassMilliseconds(const ModelShape& shape) {
  constexpr int64_t kTokens = 512;
  const int64_t width = shape.width();
  const Inputs in(shape, kTokens);
  const auto bias = c10::make_intrusive<RelativeBias>(Clipped(shape.heads, kTokens));
  const at::Tensor x = at::randn({kTokens, width});
  const at::Tensor qkv = at::randn({3 * width, width}), out = at::randn({width, width});
  const at::Tensor up = at::randn({shape.inner, width}), down = at::randn({width, shape.inner});
  double best = std::numeric_limits<double>::infinity();
  for (int run = 0; run < 3 * kRuns; ++run) {
    const Clock::time_point start = Clock::now();
    for (int64_t layer = 0; layer < shape.layers; ++layer) {
      at::linear(x, qkv);
      Attend(in, bias, "auto");
      at::linear(x, out);
      at::Tensor hidden = at::linear(x, up);
      at::gelu_(hidden);
      at::linear(hidden, down);
    }
    best = std::min(best, Milliseconds(Clock::now() - start).count());
  }
  return best;
}

void MeasureGaps(const ModelShape& shape, const Case& c, int64_t n, double pass_ms,
                 bool first_row) {
  const Inputs in(shape, n);
  const auto bias = c10::make_intrusive<RelativeBias>(c.table(shape.heads, n));
  double longest = std::numeric_limits<double>::infinity();
  int64_t count = 0;
  bool whole = true;
  // The first run also analyses the table, once for all calls.
  double first = 0;
  for (int run = 0; run < kRuns + 1; ++run) {
    GapMeter meter;
    const CheckpointScope scope([&] { meter.Tick(); });
    try {
      Attend(in, bias, c.algorithm);
      meter.Tick();
    } catch (const GapMeter::Stopped&) {
      whole = false;
    }
    count = meter.count();
    if (run == 0) {
      first = meter.longest_ms();
    } else {
      longest = std::min(longest, meter.longest_ms());
    }
  }
  std::printf(
      "%s  {\"model\": \"%s\", \"algorithm\": \"%s\", \"tokens\": %ld, \"pass_512_ms\": %.2f, "
      "\"longest_gap_ms\": %.2f, \"gap_per_pass\": %.3f, \"first_call_ms\": %.2f, "
      "\"checkpoints\": %ld, \"whole\": %s}",
      first_row ? "" : ",\n", shape.name, c.algorithm, static_cast<long>(n), pass_ms, longest,
      longest / pass_ms, first, static_cast<long>(count), whole ? "true" : "false");
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  if (argc > 1) at::set_num_threads(std::atoi(argv[1]));
  const c10::InferenceMode inference;
  std::printf("{\"benchmark\": \"checkpoint_gaps\", \"threads\": %d, \"gaps\": [\n",
              at::get_num_threads());
  const auto wants = [&](int argument, const char* name) {
    return argc <= argument || std::strcmp(argv[argument], name) == 0;
  };
  bool first_row = true;
  for (const ModelShape& shape : kShapes) {
    if (!wants(2, shape.name)) continue;
    const double pass_ms = PassMilliseconds(shape);
    for (const Case& c : kCases) {
      if (!wants(3, c.algorithm)) continue;
      for (const int64_t n : {16384, 65536}) {
        MeasureGaps(shape, c, n, pass_ms, first_row);
        first_row = false;
      }
    }
  }
  std::printf("\n]}\n");
  return 0;
}

}  // namespace
}  // namespace longwave::attention

int main(int argc, char** argv) { return longwave::attention::Main(argc, argv); }
