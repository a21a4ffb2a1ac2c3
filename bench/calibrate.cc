// Measures the cost constants of the CPU's attention algorithms on this machine and writes them as
// model/attention/cost_table.h, which every Predict() reads.
//
//   build/cpu-release/bench/calibrate [THREADS] > table.h && mv table.h
//   model/attention/cost_table.h
//
// Each algorithm is run on tables and lengths of its own. Its predicted time is linear in its
// constants, so a prediction with one constant at 1 and the others at 0 tells how often that step
// is taken; non-negative least squares of the relative errors gives the constants. Takes about half
// a minute on two cores; the fit's largest error goes to standard error.
#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "model/attention/algorithm.h"
#include "model/attention/operators.h"
#include "model/attention/planner.h"
#include "model/attention/sequence_bias.h"

namespace longwave::attention {
namespace {

constexpr int64_t kHeads = 4;
constexpr int kLeastRuns = 4;
constexpr double kLeastMilliseconds = 500;

using Table = std::function<at::Tensor(int64_t n)>;  // float32 [kHeads, 2n-1]

struct Constant {
  const char* name;
  double CostConstants::*field;
};

struct Experiment {
  const char* algorithm;
  std::vector<Table> tables;
  // Tokens, and the size of heads and features: small ones show what does not depend on it.
  std::vector<std::pair<int64_t, int64_t>> sizes;
  std::vector<Constant> constants;
};

at::Tensor Noise(int64_t n) { return at::randn({kHeads, 2 * n - 1}); }

at::Tensor Clipped(int64_t n) {
  constexpr int64_t kReach = 128;
  const at::Tensor t = at::arange(1 - n, n, at::kLong).clamp(-kReach, kReach) + kReach;
  return at::randn({kHeads, 2 * kReach + 1}).index_select(1, t);
}

at::Tensor Alibi(int64_t n) {
  return (at::arange(1 - n, n, at::kFloat).abs() * -0.05).expand({kHeads, -1}).contiguous();
}

std::vector<Experiment> Experiments() {
  return {
      {"direct",
       {Noise},
       {{128, 64}, {512, 64}, {2048, 64}, {6144, 64}, {512, 16}, {2048, 16}},
       {{"direct_ps_per_flop", &CostConstants::direct_ps_per_flop},
        {"direct_ns_per_row", &CostConstants::direct_ns_per_row}}},
      {"structured",
       {Clipped, Alibi},
       {{512, 64}, {2048, 64}, {8192, 64}, {32768, 64}, {2048, 16}},
       {{"chunk_ps_per_flop", &CostConstants::chunk_ps_per_flop},
        {"chunk_ns_per_feature", &CostConstants::chunk_ns_per_feature},
        {"chunk_ps_per_byte", &CostConstants::chunk_ps_per_byte}}},
      {"fft",
       {Noise},
       {{512, 64}, {2048, 64}, {8192, 64}, {24576, 64}, {256, 16}, {2048, 16}},
       {{"fft_ps_per_flop", &CostConstants::fft_ps_per_flop},
        {"fft_ps_per_point", &CostConstants::fft_ps_per_point},
        {"fft_us_per_head", &CostConstants::fft_us_per_head}}},
  };
}

// Milliseconds of one head: the least of some runs, as other work on the machine only adds.
double Measure(const char* algorithm, const c10::intrusive_ptr<RelativeBias>& bias, int64_t n,
               int64_t dim) {
  const at::Tensor q = at::randn({1, n, kHeads, dim}), k = at::randn({1, n, kHeads, dim});
  const at::Tensor v = at::randn({1, n, kHeads, dim}), w = at::randn({dim, dim});
  AttentionOptions options;
  options.algorithm = algorithm;
  using Milliseconds = std::chrono::duration<double, std::milli>;
  double best = std::numeric_limits<double>::infinity(), spent = 0;
  for (int run = 0; run < kLeastRuns || spent < kLeastMilliseconds; ++run) {
    const auto start = std::chrono::steady_clock::now();
    RpeAttention(q, k, v, w, bias, std::nullopt, std::nullopt, options);
    const Milliseconds time = std::chrono::steady_clock::now() - start;
    spent += time.count();
    best = std::min(best, time.count());
  }
  return best / kHeads;
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
void Run(const Experiment& experiment, CostConstants& known) {
  const Algorithm& algorithm = FindAlgorithm(at::kCPU, experiment.algorithm);
  std::vector<std::vector<double>> rows;
  for (const Table& table : experiment.tables) {
    for (const auto& [n, dim] : experiment.sizes) {
      const auto bias = c10::make_intrusive<RelativeBias>(table(n));
      const SequenceBias sequence(*bias);
      Shape shape;
      shape.length = n;
      shape.dim = shape.value_dim = shape.feature_dim = dim;
      shape.transform_size = sequence.TransformSize(n);
      shape.threads = at::get_num_threads();
      shape.bias = &sequence;
      shape.range = FeatureRange::Typical(dim);
      const auto predict = [&](const CostConstants& costs) {
        shape.costs = &costs;
        return algorithm.Predict(shape).milliseconds;
      };
      const double rest = predict(known);
      const double ms = Measure(experiment.algorithm, bias, n, dim) - rest;
      std::vector<double> row;
      for (const Constant& constant : experiment.constants) {
        CostConstants one = known;
        one.*constant.field = 1;
        row.push_back((predict(one) - rest) / ms);
      }
      rows.push_back(std::move(row));
    }
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

void Print(const CostConstants& costs) {
  char date[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(date, sizeof(date), "%Y-%m-%d", std::gmtime(&now));
  std::printf(
      "// Written by bench/calibrate on %s, %d threads, %s: do not edit.\n"
      "#ifndef LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_\n"
      "#define LONGWAVE_MODEL_ATTENTION_COST_TABLE_H_\n\n"
      "#include \"model/attention/cost_constants.h\"\n\n"
      "namespace longwave::attention {\n\n"
      "inline constexpr CostConstants kCpuCosts = {\n",
      Processor().c_str(), at::get_num_threads(), date);
  for (const Experiment& experiment : Experiments()) {
    for (const Constant& constant : experiment.constants) {
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
  if (argc > 1) at::set_num_threads(std::max(1, std::atoi(argv[1])));
  CostConstants costs;
  for (const Experiment& experiment : Experiments()) Run(experiment, costs);
  Print(costs);
  return 0;
}
