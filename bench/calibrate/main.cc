// Measures the cost constants of the attention's algorithms on this machine and prints
// model/attention/cost_table.h, which every Predict() reads, with the device's part of it anew.
//
//   build/cpu-release/bench/calibrate [--device cpu|cuda:0] [--threads N] > table.h &&
//     mv table.h model/attention/cost_table.h
//
// Each algorithm is run on tables and lengths of its own. Its predicted time is linear in its
// constants, so a prediction with one constant at 1 and the others at 0 tells how often that step
// is taken; non-negative least squares of the relative errors gives the constants. Takes about a
// minute on two cores, some seconds on a GPU; how far each fit is off goes to standard error.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "bench/calibrate/timer.h"
#include "model/attention/algorithm.h"
#include "model/attention/grid_bias.h"
#include "model/attention/operators.h"
#include "model/attention/planner.h"
#include "model/attention/sequence_bias.h"
#include "model/device/torch_device.h"

ABSL_FLAG(std::string, device, "cpu", "What to measure: cpu, cuda:0, ...");
ABSL_FLAG(int, threads, 0, "Threads of the CPU; 0: LibTorch's choice.");

namespace longwave::attention {
namespace {

using bench::Timer;

using Table = std::function<at::Tensor(int64_t heads, int64_t n)>;  // float32 [heads, 2n-1]

struct Constant {
  const char* name;
  double CostConstants::*field;
};
#define LONGWAVE_CONSTANT(name) \
  { #name, &CostConstants::name }

// A problem to time: `size` tokens, or a grid of size x size.
struct Case {
  Table table;
  int64_t size = 0;
  int64_t dim = 64;  // of heads and features: small ones show what does not depend on it
  at::ScalarType dtype = at::kFloat;
  bool grid = false;
  int64_t batch = 1;
};

struct Experiment {
  const char* algorithm;
  std::vector<Case> cases;
  std::vector<Constant> constants;
};

at::Tensor Noise(int64_t heads, int64_t n) { return at::randn({heads, 2 * n - 1}); }

template <int64_t kReach>
at::Tensor ClippedAt(int64_t heads, int64_t n) {
  const at::Tensor t = at::arange(1 - n, n, at::kLong).clamp(-kReach, kReach) + kReach;
  return at::randn({heads, 2 * kReach + 1}).index_select(1, t);
}
constexpr auto Clipped = ClippedAt<128>;
constexpr auto ClippedFar = ClippedAt<1500>;

template <int kPercent>
at::Tensor AlibiOf(int64_t heads, int64_t n) {
  return (at::arange(1 - n, n, at::kFloat).abs() * (-0.01 * kPercent))
      .expand({heads, -1})
      .contiguous();
}
constexpr auto Alibi = AlibiOf<5>;
constexpr auto Steep = AlibiOf<70>;  // nothing is left of its far field

at::Tensor Inverse(int64_t heads, int64_t n) {
  return (-at::arange(1 - n, n, at::kFloat).abs().log1p()).expand({heads, -1}).contiguous();
}

at::Tensor GridNoise(int64_t heads, int64_t n) { return at::randn({heads, 2 * n - 1, 2 * n - 1}); }

at::Tensor GridClipped(int64_t heads, int64_t /*n*/) { return at::randn({heads, 15, 15}); }

at::Tensor GridDecay(int64_t heads, int64_t n) {
  const at::Tensor t = at::arange(1 - n, n, at::kFloat).abs() * -0.1;
  return (t.unsqueeze(0) + t.unsqueeze(1)).expand({heads, -1, -1}).contiguous();
}

std::vector<Case> Cases(const std::vector<Table>& tables,
                        const std::vector<std::pair<int64_t, int64_t>>& sizes,
                        at::ScalarType dtype = at::kFloat, bool grid = false) {
  std::vector<Case> cases;
  for (const Table& table : tables)
    for (const auto& [size, dim] : sizes) cases.push_back({table, size, dim, dtype, grid});
  return cases;
}

// Batches of sequences, on tensor cores.
std::vector<Case> Batches(const std::vector<Table>& tables,
                          const std::vector<std::pair<int64_t, int64_t>>& sizes) {
  std::vector<Case> cases;
  for (const Table& table : tables)
    for (const auto& [batch, size] : sizes) {
      cases.push_back({table, size, 64, at::kBFloat16, /*grid=*/false, batch});
    }
  return cases;
}

// The constants of an experiment are known to those after it.
std::vector<Experiment> CpuExperiments() {
  return {
      {"direct",
       Cases({Noise}, {{128, 64}, {512, 64}, {2048, 64}, {6144, 64}, {512, 16}, {2048, 16}}),
       {LONGWAVE_CONSTANT(direct_ps_per_flop), LONGWAVE_CONSTANT(direct_ns_per_row)}},
      {"structured",
       Cases({Clipped, Alibi}, {{512, 64}, {2048, 64}, {8192, 64}, {32768, 64}, {2048, 16}}),
       {LONGWAVE_CONSTANT(chunk_ps_per_flop), LONGWAVE_CONSTANT(chunk_ns_per_feature),
        LONGWAVE_CONSTANT(chunk_ps_per_byte)}},
      {"structured",
       Cases({GridClipped, GridDecay}, {{32, 64}, {64, 64}, {128, 64}, {64, 16}}, at::kFloat,
             /*grid=*/true),
       {LONGWAVE_CONSTANT(line_ps_per_flop)}},
      {"fft",
       Cases({Noise}, {{512, 64}, {2048, 64}, {8192, 64}, {24576, 64}, {256, 16}, {2048, 16}}),
       {LONGWAVE_CONSTANT(fft_ps_per_flop), LONGWAVE_CONSTANT(fft_us_per_head)}},
  };
}

std::vector<Experiment> CudaExperiments() {
  // Longer than sequences for which one kernel could be faster.
  std::vector<Case> tiles =
      Batches({Noise}, {{1, 1536}, {1, 2048}, {1, 4096}, {1, 8192}, {1, 16384}, {8, 2048}});
  for (const Case& wide : Cases({Noise}, {{4096, 64}})) tiles.push_back(wide);
  std::vector<std::pair<int64_t, int64_t>> short_sequences = {
      {1, 128}, {1, 512}, {4, 256}, {8, 512}, {32, 512}, {64, 128}, {16, 256}, {64, 64}};
  return {
      {"direct",
       tiles,
       {LONGWAVE_CONSTANT(cuda_direct_us_per_call), LONGWAVE_CONSTANT(cuda_direct_ns_per_token),
        LONGWAVE_CONSTANT(cuda_direct_ps_per_flop)}},
      {"direct",
       Cases({GridNoise}, {{64, 64}, {96, 64}}, at::kBFloat16, /*grid=*/true),
       {LONGWAVE_CONSTANT(cuda_direct_mma_ps_per_flop)}},
      {"direct", Batches({Noise}, short_sequences), {LONGWAVE_CONSTANT(cuda_fused_us_per_tile)}},
      {"structured",
       Batches({Steep, Clipped, Alibi},
               {{1, 512}, {1, 1024}, {1, 4096}, {1, 16384}, {1, 65536}, {32, 512}, {8, 1024}}),
       {LONGWAVE_CONSTANT(cuda_structured_us_per_call),
        LONGWAVE_CONSTANT(cuda_structured_us_per_sequence),
        LONGWAVE_CONSTANT(cuda_structured_ps_per_flop),
        LONGWAVE_CONSTANT(cuda_structured_ps_per_state),
        LONGWAVE_CONSTANT(cuda_structured_ps_per_decayed_state)}},
      {"structured",
       Cases({ClippedFar}, {{4096, 64}, {16384, 64}, {65536, 64}}, at::kBFloat16),
       {LONGWAVE_CONSTANT(cuda_structured_wide_ps_per_flop)}},
      {"low_rank",
       Batches({Inverse}, {{1, 2048}, {1, 4096}, {1, 16384}, {1, 65536}, {4, 4096}}),
       {LONGWAVE_CONSTANT(cuda_structured_ps_per_mix)}},
      {"structured",
       Cases({Clipped, Alibi}, {{512, 64}, {2048, 64}, {8192, 64}, {32768, 64}}),
       {LONGWAVE_CONSTANT(cuda_structured_simt_us_per_call),
        LONGWAVE_CONSTANT(cuda_structured_simt_ps_per_flop)}},
      {"fft",
       Cases({Noise}, {{2048, 64}, {8192, 64}, {65536, 64}, {262144, 64}, {8192, 16}, {65536, 16}},
             at::kBFloat16),
       {LONGWAVE_CONSTANT(cuda_fft_us_per_call), LONGWAVE_CONSTANT(cuda_fft_ps_per_flop),
        LONGWAVE_CONSTANT(cuda_fft_near_ps_per_flop)}},
      {"fft",
       Cases({GridNoise}, {{64, 64}, {128, 64}}, at::kBFloat16, /*grid=*/true),
       {LONGWAVE_CONSTANT(cuda_fft_grid_ps_per_point)}},
  };
}

// Milliseconds of one head of one sequence.
double Measure(const Experiment& experiment, const Case& problem, int64_t heads,
               const at::Tensor& table, Timer& timer) {
  const int64_t n = problem.grid ? problem.size * problem.size : problem.size, d = problem.dim;
  const at::TensorOptions options =
      at::TensorOptions().dtype(problem.dtype).device(TorchDevice(timer.info()));
  const auto random = [&] { return at::randn({problem.batch, n, heads, d}, options); };
  const at::Tensor q = random(), k = random(), v = random();
  const at::Tensor w = at::randn({d, d}, options.dtype(at::kFloat));
  AttentionOptions attention;
  attention.algorithm = experiment.algorithm;
  if (problem.grid) {
    const auto bias = c10::make_intrusive<RelativeBias2d>(
        table, std::vector<int64_t>{problem.size, problem.size});
    return timer.Milliseconds(/*as_graph=*/false, [&] {
      RpeAttention2d(q, k, v, w, bias, attention);
    }) / static_cast<double>(heads);
  }
  const auto bias = c10::make_intrusive<RelativeBias>(table);
  return timer.Milliseconds(/*as_graph=*/true, [&] {
    RpeAttention(q, k, v, w, bias, std::nullopt, std::nullopt, attention);
  }) / static_cast<double>(heads * problem.batch);
}

// x >= 0 that minimises sum over i of (sum_k rows[i][k] x_k - 1)^2, by coordinate descent.
std::vector<double> Fit(const std::vector<std::vector<double>>& rows) {
  std::vector<double> x(rows.front().size());
  for (int sweep = 0; sweep < 100000; ++sweep) {
    for (size_t k = 0; k < x.size(); ++k) {
      double gradient = 0, curvature = 0;
      for (const std::vector<double>& row : rows) {
        double residual = -1;
        for (size_t j = 0; j < x.size(); ++j) residual += row[j] * x[j];
        gradient += row[k] * residual;
        curvature += row[k] * row[k];
      }
      if (curvature > 0) x[k] = std::max(0.0, x[k] - gradient / curvature);
    }
  }
  return x;
}

// Finds an experiment's constants; those of earlier ones are known.
void Run(const Experiment& experiment, Timer& timer, CostConstants& known) {
  const bool cuda = timer.info().is_cuda;
  const int64_t heads = cuda ? 12 : 4;  // a GPU wants more to do
  const Algorithm& algorithm = FindAlgorithm(cuda ? at::kCUDA : at::kCPU, experiment.algorithm);
  std::vector<std::vector<double>> rows;
  for (const Case& problem : experiment.cases) {
    const at::Tensor table = problem.table(heads, problem.size);
    std::unique_ptr<RelativeBias> prepared;
    std::unique_ptr<PositionBias> bias;
    if (problem.grid) {
      bias = std::make_unique<GridBias>(table, problem.size, problem.size);
    } else {
      prepared = std::make_unique<RelativeBias>(table);
      bias = std::make_unique<SequenceBias>(*prepared);
    }
    Shape shape;
    shape.length = problem.grid ? problem.size * problem.size : problem.size;
    shape.dim = shape.value_dim = shape.feature_dim = problem.dim;
    shape.transform_size = bias->TransformSize(shape.length);
    shape.threads = at::get_num_threads();
    shape.device = cuda ? at::kCUDA : at::kCPU;
    shape.dtype = problem.dtype;
    shape.units = heads * problem.batch;
    shape.bias = bias.get();
    shape.range = FeatureRange::Typical(problem.dim);
    const auto predict = [&](const CostConstants& costs) {
      shape.costs = &costs;
      return algorithm.Predict(shape).milliseconds;
    };
    CostConstants zero = known;
    for (const Constant& constant : experiment.constants) zero.*constant.field = 0;
    const double rest = predict(zero);
    const double ms = Measure(experiment, problem, heads, table, timer) - rest;
    std::vector<double> row;
    for (const Constant& constant : experiment.constants) {
      CostConstants one = zero;
      one.*constant.field = 1;
      row.push_back((predict(one) - rest) / ms);
    }
    rows.push_back(std::move(row));
  }
  const std::vector<double> fitted = Fit(rows);
  double worst = 0;
  for (const std::vector<double>& row : rows) {
    double share = 0;
    for (size_t k = 0; k < row.size(); ++k) share += row[k] * fitted[k];
    std::fprintf(stderr, " %.2f", share);
    worst = std::max(worst, std::abs(share - 1));
  }
  std::fprintf(stderr, ": %s, predicted over measured; off by at most %.0f%%\n",
               experiment.algorithm, 100 * worst);
  for (size_t k = 0; k < fitted.size(); ++k) known.*experiment.constants[k].field = fitted[k];
}

std::string Processor() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "an unnamed processor";
}

// What the constants were measured on.
std::string Machine(const DeviceInfo& device) {
  char date[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof(date), "%Y-%m-%d", std::gmtime(&now));
  if (device.is_cuda)
    return device.description.substr(0, device.description.find(',')) + ", " + date;
  return Processor() + ", " + std::to_string(at::get_num_threads()) + " threads, " + date;
}

void Print(const CostConstants& costs, const std::string& cpu, const std::string& cuda) {
  std::printf(
      "// Written by bench/calibrate: do not edit.\n"
      "#ifndef LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_\n"
      "#define LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_\n\n"
      "#include \"model/attention/cost_constants.h\"\n\n"
      "namespace longwave::attention {\n\n"
      "// Where each part was measured.\n"
      "inline constexpr char kCpuCostsFrom[] = \"%s\";\n"
      "inline constexpr char kCudaCostsFrom[] = \"%s\";\n\n"
      "inline constexpr CostConstants kCostTable = {\n",
      cpu.c_str(), cuda.c_str());
  for (const auto& experiments : {CpuExperiments(), CudaExperiments()}) {
    for (const Experiment& experiment : experiments) {
      for (const Constant& constant : experiment.constants)
        std::printf("    .%s = %.3g,\n", constant.name, costs.*constant.field);
    }
  }
  std::printf(
      "};\n\n"
      "}  // namespace longwave::attention\n\n"
      "#endif  // LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_\n");
}

}  // namespace
}  // namespace longwave::attention

int main(int argc, char** argv) {
  using namespace longwave::attention;
  absl::ParseCommandLine(argc, argv);
  if (const int threads = absl::GetFlag(FLAGS_threads); threads > 0) at::set_num_threads(threads);
  longwave::bench::Timer timer(absl::GetFlag(FLAGS_device));
  CostConstants costs = kCostTable;  // the other device's part stays
  const bool cuda = timer.info().is_cuda;
  for (const Experiment& experiment : cuda ? CudaExperiments() : CpuExperiments())
    Run(experiment, timer, costs);
  const std::string machine = Machine(timer.info());
  Print(costs, cuda ? kCpuCostsFrom : machine, cuda ? machine : kCudaCostsFrom);
  return 0;
}
