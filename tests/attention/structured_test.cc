// The structured algorithm's parts against float64 sums straight from the formula.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "model/attention/structured/chunked_attention.h"
#include "model/attention/structured/table_structure.h"

namespace longwave::attention {
namespace {

constexpr float kForbidden = -std::numeric_limits<float>::infinity();

// A named table: bias at distance t of a table of length L.
struct TableCase {
  std::string name;
  std::function<double(int64_t t)> bias;
};

std::vector<float> Table(const TableCase& table, int64_t length) {
  std::vector<float> bias(2 * length - 1);
  for (int64_t t = -(length - 1); t < length; ++t)
    bias[length - 1 + t] = static_cast<float>(table.bias(t));
  return bias;
}

// Reproducible numbers per distance, the same for every length.
double Noise(int64_t t) {
  std::mt19937_64 generator(static_cast<uint64_t>(t + 1000000));
  return std::normal_distribution<double>()(generator);
}

std::vector<TableCase> ExactTables() {
  return {
      {"clipped", [](int64_t t) { return Noise(std::clamp<int64_t>(t, -40, 40)); }},
      {"flat", [](int64_t) { return 0.3; }},
      {"two sides",
       [](int64_t t) { return t < -70  ? 1.5
                              : t > 90 ? -2.0
                                       : 0.1 * static_cast<double>(t % 7); }},
      {"steps", [](int64_t t) { return Noise((t < 0 ? -1 : 1) * (std::abs(t) / 230)); }},
      {"t5 buckets",
       [](int64_t t) {
         const double a = std::abs(static_cast<double>(t));
         const double bucket =
             a < 8 ? a : std::min(15.0, 8 + std::floor(std::log(a / 8) / std::log(16.0) * 8));
         return Noise(static_cast<int64_t>(bucket) + (t > 0 ? 16 : 0));
       }},
      {"alibi", [](int64_t t) { return -0.125 * std::abs(static_cast<double>(t)); }},
      {"gentle alibi", [](int64_t t) { return -0.0123 * std::abs(static_cast<double>(t)); }},
      {"alibi with a floor",
       [](int64_t t) { return std::max(-6.0, -0.0625 * std::abs(static_cast<double>(t))); }},
      {"causal", [](int64_t t) { return t > 0 ? kForbidden : Noise(std::max<int64_t>(t, -20)); }},
      {"causal alibi",
       [](int64_t t) { return t > 0 ? kForbidden : 0.03125 * static_cast<double>(t); }},
      {"window", [](int64_t t) { return std::abs(t) > 100 ? kForbidden : Noise(t); }},
      {"holes", [](int64_t t) { return t == 5 || t == 300 || t == -301 ? kForbidden : 0.2; }},
      {"spike far away", [](int64_t t) { return t == 410 ? 9.0 : 0.0; }},
      {"noise", [](int64_t t) { return 2.0 * Noise(t); }},
      {"peak",
       [](int64_t t) { return t == 0 ? 12.0 : 0.5 * Noise(std::clamp<int64_t>(t, -9, 9)); }},
  };
}

struct Data {
  int dim, features, value_dim;
  int64_t n;
  std::vector<float> q, k, v, w;
};

Data RandomData(int64_t n, int dim, int features, int value_dim, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  const auto draw = [&](size_t count) {
    std::vector<float> x(count);
    for (float& value : x) value = normal(generator);
    return x;
  };
  return {
      dim,           features,      value_dim,           n,
      draw(n * dim), draw(n * dim), draw(n * value_dim), draw(static_cast<size_t>(features) * dim)};
}

// phi of the formula for a normalised token.
std::vector<double> Features(const float* x, const Data& data, double scale) {
  double norm = 0.0;
  for (int e = 0; e < data.dim; ++e) norm += static_cast<double>(x[e]) * x[e];
  const double factor = scale / std::sqrt(norm);
  std::vector<double> phi(data.features);
  for (int f = 0; f < data.features; ++f) {
    double dot = 0.0;
    for (int e = 0; e < data.dim; ++e) dot += static_cast<double>(data.w[f * data.dim + e]) * x[e];
    phi[f] = std::exp(dot * factor - 0.5 * norm * factor * factor);
  }
  return phi;
}

// The largest |error| / max|v| of the structured result over all rows.
double LargestError(const Data& data, const std::vector<float>& bias, double scale,
                    const std::vector<float>& out) {
  const int64_t length = (static_cast<int64_t>(bias.size()) + 1) / 2;
  std::vector<std::vector<double>> phi_q, phi_k;
  double largest_v = 0.0;
  for (int64_t i = 0; i < data.n; ++i) {
    phi_q.push_back(Features(&data.q[i * data.dim], data, scale));
    phi_k.push_back(Features(&data.k[i * data.dim], data, scale));
  }
  for (const float value : data.v)
    largest_v = std::max(largest_v, std::abs(static_cast<double>(value)));
  double worst = 0.0;
  for (int64_t i = 0; i < data.n; ++i) {
    std::vector<double> sum(data.value_dim, 0.0);
    double total = 0.0;
    for (int64_t j = 0; j < data.n; ++j) {
      double weight = 0.0;
      for (int f = 0; f < data.features; ++f) weight += phi_q[i][f] * phi_k[j][f];
      const int64_t t = std::clamp(j - i, -(length - 1), length - 1);
      weight *= std::exp(static_cast<double>(bias[length - 1 + t]));
      total += weight;
      for (int e = 0; e < data.value_dim; ++e) sum[e] += weight * data.v[j * data.value_dim + e];
    }
    for (int e = 0; e < data.value_dim; ++e)
      worst = std::max(worst, std::abs(sum[e] / total - out[i * data.value_dim + e]));
  }
  return worst / largest_v;
}

struct Outcome {
  bool ok;
  std::vector<float> out;
};

Outcome RunStructure(const Data& data, const std::vector<float>& bias, double scale,
                     const TableStructure& structure, Threading threading) {
  const ChunkShape shape = ChunkShape::Make(data.dim, data.features, data.value_dim);
  const PreparedHead head(bias.data(), (static_cast<int64_t>(bias.size()) + 1) / 2, structure);
  const PaddedProjection projection(shape, data.w.data());
  std::vector<float> out(data.n * data.value_dim, std::nanf(""));
  Workspace workspace;
  const HeadInput input{data.q.data(), data.k.data(),  data.v.data(),  out.data(), data.dim,
                        data.dim,      data.value_dim, data.value_dim, data.n};
  const bool ok = ChunkedAttention(
      {shape, static_cast<float>(scale), projection, input, threading, workspace}, head);
  return {ok, out};
}

class StructuredTables : public testing::TestWithParam<int> {
 protected:
  TableCase table_ = ExactTables()[GetParam()];
};

TEST_P(StructuredTables, StayWithinTheirCertificate) {
  unsigned seed = 1;
  for (const int64_t n : {1, 2, 63, 64, 65, 127, 128, 129, 191, 320, 700}) {
    const Data data = RandomData(n, 16, 20, 24, ++seed);
    const std::vector<float> bias = Table(table_, std::max<int64_t>(n, 450));
    const TableStructure structure = AnalyzeTable(bias.data(), (bias.size() + 1) / 2, {});
    ASSERT_GE(structure.max_tokens, n);
    EXPECT_LE(structure.relative_error, StructureOptions{}.relative_error);
    for (const double scale : {1.0, 2.4}) {
      const Outcome outcome = RunStructure(data, bias, scale, structure,
                                           n % 2 ? Threading::kSerial : Threading::kParallel);
      ASSERT_TRUE(outcome.ok);
      EXPECT_LT(LargestError(data, bias, scale, outcome.out),
                2 * structure.relative_error / (1 - structure.relative_error) + 2e-6)
          << table_.name << ", n = " << n;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, StructuredTables,
                         testing::Range(0, static_cast<int>(ExactTables().size())));

TEST(TableStructure, FindsWhatATableIsMadeOf) {
  const auto analyze = [](const TableCase& table, int64_t length) {
    const std::vector<float> bias = Table(table, length);
    return AnalyzeTable(bias.data(), length, {});
  };
  const std::vector<TableCase> tables = ExactTables();
  const auto find = [&](const std::string& name) {
    for (const TableCase& table : tables)
      if (table.name == name) return analyze(table, 4096);
    return TableStructure{};
  };
  EXPECT_THAT(find("flat").direct, testing::ElementsAre(0));
  EXPECT_EQ(find("flat").terms.size(), 2U);
  EXPECT_THAT(find("clipped").direct, testing::ElementsAre(-1, 0, 1));
  EXPECT_THAT(find("t5 buckets").direct, testing::ElementsAre(-2, -1, 0, 1, 2));
  EXPECT_THAT(find("alibi").direct, testing::ElementsAre(0));
  EXPECT_EQ(find("alibi").States(4096), 2);
  EXPECT_TRUE(find("alibi").drops_small);
  EXPECT_FALSE(find("gentle alibi").drops_small);
  EXPECT_EQ(find("gentle alibi").max_tokens, 4096);
  EXPECT_THAT(find("window").direct, testing::ElementsAre(-2, -1, 0, 1, 2));
  EXPECT_EQ(find("window").States(4096), 0);
  EXPECT_EQ(find("causal").terms.size(), 1U);
  EXPECT_EQ(find("spike far away").DirectTiles(1 << 20), 3);
  EXPECT_GT(find("noise").DirectTiles(4096), 40);
}

double Power(double exponent, int64_t t) {
  return -exponent * std::log1p(std::abs(static_cast<double>(t)));
}

constexpr int64_t kReach = 1400;

std::vector<TableCase> SmoothTables() {
  return {
      {"inverse", [](int64_t t) { return Power(1, t); }},
      {"gentle power", [](int64_t t) { return Power(0.3, t); }},
      {"square", [](int64_t t) { return Power(2, t); }},
      {"two powers", [](int64_t t) { return Power(t < 0 ? 0.5 : 1.5, t); }},
      {"smooth on one side",
       [](int64_t t) { return t < 0 ? Power(1, t) : Noise(std::min<int64_t>(t, 50)); }},
      {"exponential on one side",
       [](int64_t t) { return t < 0 ? Power(1, t) : -0.02 * static_cast<double>(t); }},
      {"with a floor", [](int64_t t) { return Power(1, std::min(std::abs(t), kReach)); }},
      {"clipped in a tile",
       [](int64_t t) { return Power(0.7, std::clamp<int64_t>(t, -1211, 1333)); }},
      {"causal", [](int64_t t) { return t > 0 ? kForbidden : Power(1, t); }},
      {"causal with a floor",
       [](int64_t t) { return t > 0 ? kForbidden : Power(1, std::max(t, -kReach)); }},
      {"window", [](int64_t t) { return std::abs(t) > kReach ? kForbidden : Power(1, t); }},
      {"alibi with a floor",
       [](int64_t t) { return -0.004 * static_cast<double>(std::min(std::abs(t), kReach)); }},
      {"steep alibi with a far floor",
       [](int64_t t) { return -0.03 * static_cast<double>(std::min(std::abs(t), kReach)); }},
  };
}

class SmoothStructure : public testing::TestWithParam<int> {
 protected:
  TableCase table_ = SmoothTables()[GetParam()];
};

TEST_P(SmoothStructure, TakesFewStatesWithinItsCertificate) {
  const int64_t length = 2300;
  const std::vector<float> bias = Table(table_, length);
  StructureOptions options;
  EXPECT_GT(AnalyzeTable(bias.data(), length, options).DirectTiles(length), 15);
  options.max_exponentials = 24;
  const TableStructure smooth = AnalyzeTable(bias.data(), length, options);
  EXPECT_LE(smooth.DirectTiles(length), 13);
  EXPECT_LE(smooth.States(length), 9);
  EXPECT_LE(smooth.relative_error, options.relative_error);
  // A table that is constant at its end holds for every length.
  const bool flat = bias[0] == bias[1] && bias[2 * length - 2] == bias[2 * length - 3];
  EXPECT_EQ(smooth.max_tokens, flat ? kOpen : length);
  unsigned seed = 20;
  for (const int64_t n : {1, 65, 193, 1425, 2300, 2600}) {
    if (n > smooth.max_tokens) continue;
    const Data data = RandomData(n, 4, 6, 4, ++seed);
    const Outcome outcome = RunStructure(data, bias, n % 2 ? 1.0 : 2.4, smooth,
                                         n % 2 ? Threading::kSerial : Threading::kParallel);
    ASSERT_TRUE(outcome.ok);
    EXPECT_LT(LargestError(data, bias, n % 2 ? 1.0 : 2.4, outcome.out),
              2 * smooth.relative_error / (1 - smooth.relative_error) + 2e-6)
        << table_.name << ", n = " << n;
  }
}

INSTANTIATE_TEST_SUITE_P(All, SmoothStructure,
                         testing::Range(0, static_cast<int>(SmoothTables().size())));

TEST(SmoothStructure, KeepsWhatALargeKeySwamped) {
  // One key whose kernel is e^25 times the others' passes through bounded decays.
  Data data = RandomData(2200, 16, 16, 16, 8);
  for (float& w : data.w) w = 0;
  for (int f = 0; f < 16; ++f) data.w[f * 16] = 8;
  for (int64_t i = 0; i < data.n; ++i) {
    data.k[i * 16] = i == 300 ? 50 : -50;
    data.q[i * 16] = 1;
  }
  const std::vector<float> bias = Table(
      {"window", [](int64_t t) { return std::abs(t) > 1300 ? kForbidden : Power(0.5, t); }}, 2200);
  StructureOptions options;
  options.max_exponentials = 24;
  const TableStructure structure = AnalyzeTable(bias.data(), 2200, options);
  ASSERT_TRUE(structure.HasBoundedDecays());
  const Outcome outcome = RunStructure(data, bias, 1.6, structure, Threading::kParallel);
  ASSERT_TRUE(outcome.ok);
  EXPECT_LT(LargestError(data, bias, 1.6, outcome.out), structure.ErrorBound(2200, 0) + 3e-6);
}

TEST(TableStructure, NoiseHasNoSmoothFarField) {
  const std::vector<float> bias = Table({"noise", Noise}, 3000);
  StructureOptions options;
  options.max_exponentials = 24;
  const TableStructure structure = AnalyzeTable(bias.data(), 3000, options);
  EXPECT_GT(structure.DirectTiles(3000), 30);
  for (const FarTerm& term : structure.terms) EXPECT_EQ(term.rate, 0.0);
}

TEST(ChunkedAttention, ReportsDenominatorsBeyondFloat32) {
  // Only token 0 is visible to itself, through a weight that is e^-150 of the largest.
  const std::vector<float> bias =
      Table({"cliff", [](int64_t t) { return t <= 0 ? -150.0 : 0.0; }}, 130);
  const Data data = RandomData(130, 16, 16, 16, 5);
  const TableStructure structure = AnalyzeTable(bias.data(), 130, {});
  EXPECT_FALSE(RunStructure(data, bias, 1.0, structure, Threading::kSerial).ok);
}

TEST(ChunkedAttention, ReportsNormsBeyondFloat32) {
  Data data = RandomData(130, 16, 16, 16, 6);
  data.k[16 * 70] = 1e20F;
  const std::vector<float> bias = Table({"flat", [](int64_t) { return 0.0; }}, 130);
  const TableStructure structure = AnalyzeTable(bias.data(), 130, {});
  EXPECT_FALSE(RunStructure(data, bias, 1.0, structure, Threading::kSerial).ok);
}

TEST(ChunkedAttention, KeepsValuesOfAnySize) {
  Data data = RandomData(300, 16, 16, 16, 7);
  for (int64_t i = 0; i < data.n; ++i) {
    data.v[i * 16 + 1] *= 1e-36F;
    data.v[i * 16 + 2] *= 1e36F;
  }
  const std::vector<float> bias =
      Table({"window", [](int64_t t) { return std::abs(t) > 200 ? -2.0 : 0.0; }}, 300);
  const Outcome outcome =
      RunStructure(data, bias, 1.0, AnalyzeTable(bias.data(), 300, {}), Threading::kSerial);
  ASSERT_TRUE(outcome.ok);
  for (const int channel : {1, 2}) {
    Data one = data;
    one.value_dim = 1;
    one.v.resize(data.n);
    std::vector<float> out(data.n);
    for (int64_t i = 0; i < data.n; ++i) {
      one.v[i] = data.v[i * 16 + channel];
      out[i] = outcome.out[i * 16 + channel];
    }
    EXPECT_LT(LargestError(one, bias, 1.0, out), 2e-6) << channel;
  }
}

TEST(ChunkedAttention, AWindowForgetsALargeKeyThatLeftIt) {
  // One key whose kernel is e^25 times the others' passes through a bounded run: what it swamped
  // must be there afterwards.
  Data data = RandomData(2000, 16, 16, 16, 8);
  for (float& w : data.w) w = 0;
  for (int f = 0; f < 16; ++f) data.w[f * 16] = 8;
  for (int64_t i = 0; i < data.n; ++i) {
    data.k[i * 16] = i == 600 ? 50 : -50;
    data.q[i * 16] = 1;
  }
  const std::vector<float> bias =
      Table({"window", [](int64_t t) { return std::abs(t) > 400 ? kForbidden : 0.0; }}, 2000);
  const TableStructure structure = AnalyzeTable(bias.data(), 2000, {});
  ASSERT_EQ(structure.States(4096), 1);
  const Outcome outcome = RunStructure(data, bias, 1.6, structure, Threading::kParallel);
  ASSERT_TRUE(outcome.ok);
  EXPECT_LT(LargestError(data, bias, 1.6, outcome.out), 3e-6);
}

}  // namespace
}  // namespace longwave::attention
