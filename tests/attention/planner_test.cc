#include "model/attention/planner.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/full.h>
#include <ATen/ops/log1p.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros_like.h>
#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/attention/fft_convolution.h"
#include "model/attention/grid_bias.h"
#include "model/attention/relative_bias.h"
#include "model/attention/sequence_bias.h"

namespace longwave::attention {
namespace {

using ::testing::ElementsAre;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// A processor of round numbers, so that no calibration changes what is tested here.
constexpr CostConstants kCosts = {
    .direct_ps_per_flop = 10,
    .direct_ns_per_row = 500,
    .chunk_ps_per_flop = 10,
    .chunk_ns_per_feature = 2,
    .chunk_ps_per_byte = 100,
    .line_ps_per_flop = 12,
    .fft_ps_per_flop = 60,
    .fft_us_per_head = 500,
};

at::Tensor Distances(int64_t length) { return at::arange(1 - length, length, at::kFloat); }

at::Tensor Noise(int64_t length) { return at::randn({2 * length - 1}); }

at::Tensor Clipped(int64_t length) {
  const at::Tensor t = Distances(length).clamp(-128, 128).to(at::kLong) + 128;
  return at::randn({257}).index_select(0, t);
}

at::Tensor Alibi(int64_t length) { return Distances(length).abs() * -0.05; }

at::Tensor Inverse(int64_t length) { return -at::log1p(Distances(length).abs()); }

// A bias with a head for each table, and shapes for it.
class Heads {
 public:
  explicit Heads(std::vector<at::Tensor> tables) : bias_(at::stack(tables)), sequence_(bias_) {}

  Shape Of(int64_t length, int64_t head = 0) const {
    Shape shape;
    shape.length = length;
    shape.head = head;
    shape.dim = shape.feature_dim = shape.value_dim = 64;
    shape.transform_size = sequence_.TransformSize(length);
    shape.bias = &sequence_;
    shape.range = FeatureRange::Typical(64);
    shape.costs = &kCosts;
    return shape;
  }

 private:
  const RelativeBias bias_;
  const SequenceBias sequence_;
};

std::string_view Pick(const Shape& shape, int64_t workspace_bytes = 0) {
  return Choose(shape, workspace_bytes).algorithm->name();
}

TEST(PlannerTest, PicksByTableAndLength) {
  constexpr int64_t kLong = 32768;
  const Heads heads({Noise(kLong), Clipped(kLong), Alibi(kLong), Inverse(kLong)});
  EXPECT_EQ(Pick(heads.Of(512, 0)), "direct");
  EXPECT_EQ(Pick(heads.Of(4096, 0)), "direct");
  EXPECT_EQ(Pick(heads.Of(kLong, 0)), "fft");
  EXPECT_EQ(Pick(heads.Of(4096, 1)), "structured");
  EXPECT_EQ(Pick(heads.Of(kLong, 1)), "structured");
  EXPECT_EQ(Pick(heads.Of(kLong, 2)), "structured");
  EXPECT_EQ(Pick(heads.Of(kLong, 3)), "low_rank");
}

at::Tensor Window(int64_t length, int64_t reach) {
  const at::Tensor t = Distances(length);
  return at::zeros_like(t).masked_fill_(t.abs() > reach, -std::numeric_limits<float>::infinity());
}

// Heads whose features are unbounded, so that only what computes in float32 row by row serves them.
TEST(PlannerTest, PicksByWhatIsLeftToDoWhereStructureDoesNotApply) {
  constexpr int64_t kLong = 32768;
  const Heads heads(
      {Noise(kLong), Clipped(kLong), Alibi(kLong), Window(kLong, 200), Window(kLong, 20000)});
  const auto pick = [&](int64_t length, int64_t head) {
    Shape shape = heads.Of(length, head);
    shape.range = FeatureRange::Typical(64, /*normalize=*/false);
    return Pick(shape);
  };
  EXPECT_EQ(pick(256, 1), "direct");
  // Nothing to transform beside the near band and the constant sides, within the table and beyond.
  EXPECT_EQ(pick(2048, 1), "fft");
  EXPECT_EQ(pick(kLong, 1), "fft");
  EXPECT_EQ(pick(2 * kLong, 1), "fft");
  // Few tiles that are not zero.
  EXPECT_EQ(pick(kLong, 2), "direct");
  EXPECT_EQ(pick(kLong, 3), "direct");
  // Neither.
  EXPECT_EQ(pick(4096, 0), "direct");
  EXPECT_EQ(pick(kLong, 0), "fft");
  EXPECT_EQ(pick(kLong, 4), "fft");
}

TEST(PlannerTest, CountsTheTilesThatHoldAWeight) {
  constexpr int64_t kLong = 32768;
  const RelativeBias bias(at::stack({Noise(kLong), Window(kLong, 200), Window(kLong, 0)}));
  const SequenceBias sequence(bias);
  EXPECT_EQ(sequence.ShareOfTiles(0, kLong), 1);
  EXPECT_EQ(sequence.ShareOfTiles(1, 128), 1);
  // 128 queries reach 200 keys on either side: two to four tiles of 256, but for the ends, and at
  // most five where blocks of the table round.
  EXPECT_GE(sequence.ShareOfTiles(1, kLong), 2.5 / 128);
  EXPECT_LE(sequence.ShareOfTiles(1, kLong), 5.0 / 128);
  EXPECT_LE(sequence.ShareOfTiles(2, kLong), 3.0 / 128);
  const RelativeBias causal(Noise(kLong).unsqueeze(0), "prf", /*causal=*/true);
  EXPECT_NEAR(SequenceBias(causal).ShareOfTiles(0, kLong), 0.5, 0.01);
}

TEST(PlannerTest, KnowsWhatIsTransformed) {
  constexpr int64_t kLong = 2048;
  at::Tensor spikes = at::full({2 * kLong - 1}, -std::numeric_limits<float>::infinity());
  spikes.narrow(0, kLong - 1, 1).zero_();
  spikes.slice(0, 0, 30 * 20, 20).zero_();  // 30 single weights far to the left
  const std::vector<at::Tensor> tables = {Noise(kLong),       Clipped(kLong),     Alibi(kLong),
                                          Window(kLong, 100), Window(kLong, 200), spikes};
  const RelativeBias bias(at::stack(tables));
  const SequenceBias sequence(bias);
  for (int64_t head = 0; head < bias.heads(); ++head) {
    for (const int64_t length : {64, 128, 129, 200, 600, 2000, 2048, 2500, 5000}) {
      const FarParts parts = sequence.PartsOf(head, length);
      const TableSplit& split = sequence.Convolve(length)->splits[head];
      EXPECT_EQ(parts.floors, split.left_floor > 0 || split.right_floor > 0)
          << "head " << head << ", " << length << " tokens";
      EXPECT_EQ(parts.transformed, split.nonzero.back() > 0)
          << "head " << head << ", " << length << " tokens";
    }
  }
}

// Picks for a grid of a square table of one head.
std::string_view PickGrid(const at::Tensor& table, int64_t side) {
  const GridBias bias(table.unsqueeze(0), side, side);
  Shape shape;
  shape.length = side * side;
  shape.dim = shape.feature_dim = shape.value_dim = 64;
  shape.transform_size = bias.TransformSize(shape.length);
  shape.bias = &bias;
  shape.range = FeatureRange::Typical(64);
  shape.costs = &kCosts;
  return Pick(shape);
}

TEST(PlannerTest, PicksByTableAndGrid) {
  EXPECT_EQ(PickGrid(at::randn({31, 31}), 16), "direct");
  EXPECT_EQ(PickGrid(at::randn({127, 127}), 64), "direct");
  EXPECT_EQ(PickGrid(at::randn({511, 511}), 256), "fft");
  EXPECT_EQ(PickGrid(at::randn({15, 15}), 64), "structured");
  EXPECT_EQ(PickGrid(at::randn({15, 15}), 256), "structured");
  const at::Tensor distance = Distances(64).abs() * -0.1;
  EXPECT_EQ(PickGrid(distance.unsqueeze(0) + distance.unsqueeze(1), 64), "structured");
}

TEST(PlannerTest, FollowsTheCostsItIsGiven) {
  const Heads heads({Noise(32768)});
  CostConstants costs = kCosts;
  Shape shape = heads.Of(32768);
  shape.costs = &costs;
  costs.fft_ps_per_flop *= 10;
  EXPECT_EQ(Pick(shape), "direct");
  costs.direct_ps_per_flop *= 10;
  EXPECT_EQ(Pick(shape), "fft");
}

TEST(PlannerTest, KeepsToTheWorkspace) {
  const Heads heads({Noise(32768)});
  const Shape shape = heads.Of(32768);
  const int64_t needed = Choose(shape, 0).estimate.workspace_bytes;
  EXPECT_EQ(Pick(shape, needed), "fft");
  EXPECT_EQ(Pick(shape, needed - 1), "direct");
}

TEST(PlannerTest, TakesOnlyExactAlgorithmsForSignedFeatures) {
  const Heads heads({Clipped(32768)});
  Shape shape = heads.Of(32768);
  shape.map = FeatureMap::kTrf;
  EXPECT_EQ(Pick(shape), "direct");
}

TEST(PlannerTest, PredictionsGrowAsTheWorkDoes) {
  const Heads heads({Noise(65536), Clipped(65536)});
  const auto ratio = [&](const Algorithm& algorithm, int64_t head) {
    return algorithm.Predict(heads.Of(65536, head)).milliseconds /
           algorithm.Predict(heads.Of(16384, head)).milliseconds;
  };
  EXPECT_NEAR(ratio(Direct(), 0), 16, 0.2);
  EXPECT_NEAR(ratio(Fft(), 0), 4.4, 0.2);
  EXPECT_NEAR(ratio(Structured(), 1), 4, 0.1);
}

TEST(PlannerTest, ThreadsShareTheWorkButNotTheirMemory) {
  constexpr int64_t kLength = 4096;
  const Heads heads({Noise(kLength), Clipped(kLength), Inverse(kLength)});
  const auto predict = [&](const Algorithm& algorithm, int64_t head, int threads) {
    Shape shape = heads.Of(kLength, head);
    shape.threads = threads;
    return algorithm.Predict(shape);
  };
  // 10 ps for each of 2 n^2 (64 + 64) operations, 500 ns for each row.
  const double direct = 10e-9 * 2 * kLength * kLength * 128 + 500e-6 * kLength;
  EXPECT_NEAR(predict(Direct(), 0, 1).milliseconds, direct, 1e-6);
  EXPECT_NEAR(predict(Direct(), 0, 4).milliseconds, direct / 4, 1e-6);
  for (const auto& [algorithm, head] : std::vector<std::pair<const Algorithm*, int64_t>>{
           {&Direct(), 0}, {&Fft(), 0}, {&Structured(), 1}, {&LowRank(), 2}}) {
    const Estimate alone = predict(*algorithm, head, 1), shared = predict(*algorithm, head, 4);
    EXPECT_LT(shared.milliseconds, alone.milliseconds / 2) << algorithm->name();
    EXPECT_GE(shared.workspace_bytes, alone.workspace_bytes) << algorithm->name();
    EXPECT_EQ(shared.error_bound, alone.error_bound) << algorithm->name();
  }
  // Each thread has a tile and its weights, or the points of a transform.
  for (const Algorithm* algorithm : {&Direct(), &Fft()}) {
    EXPECT_GT(predict(*algorithm, 0, 4).workspace_bytes, predict(*algorithm, 0, 1).workspace_bytes);
  }
}

TEST(PlannerTest, GroupsHeadsAndSaysWhy) {
  const Heads heads({Clipped(4096), Noise(4096), Clipped(4096)});
  const std::vector<int64_t> lengths = {4096, 0, 4096};
  const std::vector<PlanGroup> plan = Plan(heads.Of(1), 3, lengths, 0);
  ASSERT_EQ(plan.size(), 2);
  EXPECT_EQ(plan[0].algorithm->name(), "structured");
  EXPECT_THAT(plan[0].heads, ElementsAre(0, 2));
  EXPECT_THAT(plan[0].lengths, ElementsAre(4096, 4096));
  EXPECT_EQ(plan[1].algorithm->name(), "direct");
  EXPECT_THAT(plan[1].heads, ElementsAre(1));
  EXPECT_THAT(plan[1].reason, HasSubstr("structured finds no structure"));
  EXPECT_THAT(plan[1].reason, HasSubstr("fft takes"));
}

// Takes so long for each head, beside what a call takes; cannot compute shorter sequences.
class Timed final : public Algorithm {
 public:
  Timed(std::string name, std::vector<double> heads_ms, double call_ms, int64_t min_length = 0)
      : name_(std::move(name)),
        heads_ms_(std::move(heads_ms)),
        call_ms_(call_ms),
        min_length_(min_length) {}

  std::string_view name() const override { return name_; }
  bool Serves(FeatureMap) const override { return true; }
  std::optional<std::string> WhyNot(const Shape& shape) const override {
    if (heads_ms_[shape.head] < 0 || shape.length < min_length_) return "cannot";
    return std::nullopt;
  }
  Estimate Predict(const Shape& shape) const override {
    return {heads_ms_[shape.head] + call_ms_ / static_cast<double>(shape.units), 0, 0, call_ms_};
  }
  void Run(const Part&, OnDoubt) const override {}

 private:
  const std::string name_;
  const std::vector<double> heads_ms_;
  const double call_ms_;
  const int64_t min_length_;
};

// A shape of a device that has these algorithms only.
Shape ShapeOn(std::vector<const Algorithm*> algorithms, int64_t heads, int64_t sequences) {
  constexpr at::DeviceType kDevice = at::kHIP;  // of which there is none here
  RegisterAlgorithms(kDevice, std::move(algorithms));
  Shape shape;
  shape.device = kDevice;
  shape.units = heads * sequences;
  return shape;
}

std::vector<std::string> PickHeads(std::vector<const Algorithm*> algorithms, int64_t heads,
                                   int64_t sequences) {
  const Shape shape = ShapeOn(std::move(algorithms), heads, sequences);
  std::vector<std::string> names;
  for (const Choice& choice : ChooseHeads(shape, heads, 0)) {
    names.emplace_back(choice.algorithm->name());
  }
  return names;
}

TEST(PlannerTest, CountsTheCallsThatHeadsAreSplitOver) {
  static const Timed near("near", {1, 1, 4, 1}, 6), far("far", {3, 3, 1, 3}, 6);  // registered
  // One call of near: 7 + 6. Three, for head 2 lies between the others: 4 + 3 * 6.
  EXPECT_THAT(PickHeads({&near, &far}, 4, 1), ElementsAre("near", "near", "near", "near"));
  // For eight sequences: 56 + 6 and 32 + 18.
  EXPECT_THAT(PickHeads({&near, &far}, 4, 8), ElementsAre("near", "near", "far", "near"));
}

TEST(PlannerTest, SplitsHeadsThatNoOneAlgorithmServes) {
  static const Timed near("near", {1, 1, -1}, 9), far("far", {3, -1, 1}, 9);  // registered
  EXPECT_THAT(PickHeads({&near, &far}, 3, 1), ElementsAre("near", "near", "far"));
}

TEST(PlannerTest, ThrowsWhereNothingKeepsToTheWorkspace) {
  const Heads heads({Noise(32768)});
  Shape shape = heads.Of(32768);
  shape.device = ShapeOn({&Fft()}, 1, 1).device;
  const int64_t needed = Choose(shape, 0).estimate.workspace_bytes;
  EXPECT_EQ(Pick(shape, needed), "fft");
  try {
    Choose(shape, needed - 1);
    FAIL() << "no error";
  } catch (const c10::Error& error) {
    EXPECT_EQ(std::string(error.what_without_backtrace()),
              "workspace_bytes: found " + std::to_string(needed - 1) + ", expected " +
                  std::to_string(needed) + " or more for head 0 and 32768 tokens");
  }
}

// The plan of sequences for such algorithms.
std::vector<PlanGroup> PlanHeads(std::vector<const Algorithm*> algorithms, int64_t heads,
                                 const std::vector<int64_t>& lengths) {
  Shape shape = ShapeOn(std::move(algorithms), heads, static_cast<int64_t>(lengths.size()));
  const RelativeBias table(Noise(1).unsqueeze(0));
  const SequenceBias bias(table);
  shape.bias = &bias;
  return Plan(shape, heads, lengths, 0);
}

double PredictedMs(const std::vector<PlanGroup>& plan) {
  double sum = 0;
  for (const PlanGroup& group : plan) sum += group.predicted_ms;
  return sum;
}

TEST(PlannerTest, PredictsTheCallsThatHeadsAreSplitOver) {
  static const Timed near("near", {1, 1, 4, 1}, 6), far("far", {3, 3, 1, 3}, 6);  // registered
  // As in CountsTheCallsThatHeadsAreSplitOver; near's heads are two calls.
  EXPECT_NEAR(PredictedMs(PlanHeads({&near, &far}, 4, {5})), 7 + 6, 1e-9);
  const std::vector<PlanGroup> plan = PlanHeads({&near, &far}, 4, std::vector<int64_t>(8, 5));
  ASSERT_EQ(plan.size(), 2);
  EXPECT_NEAR(plan[0].predicted_ms, 8 * 3 + 2 * 6, 1e-9);
  EXPECT_NEAR(plan[1].predicted_ms, 8 * 1 + 6, 1e-9);
}

TEST(PlannerTest, PredictsOneCallForLengthsOfOneAssignment) {
  // far serves short sequences, near only those of 100 tokens or more.
  static const Timed near("near", {1, 1}, 6, /*min_length=*/100), far("far", {3, 3}, 5);
  const std::vector<PlanGroup> plan = PlanHeads({&near, &far}, 2, {200, 10, 300, 20, 20});
  ASSERT_EQ(plan.size(), 2);
  EXPECT_THAT(plan[0].lengths, ElementsAre(200, 300));
  EXPECT_NEAR(plan[0].predicted_ms, 2 * 2 * 1 + 6, 1e-9);
  EXPECT_THAT(plan[1].lengths, ElementsAre(10, 20, 20));
  EXPECT_NEAR(plan[1].predicted_ms, 3 * 2 * 3 + 5, 1e-9);
}

TEST(PlannerTest, SaysWhichHeadsShareACallAndWhy) {
  static const Timed near("near", {4, 1, 1, 4}, 6), far("far", {1, 2, 2, 1}, 6);  // registered
  const std::vector<PlanGroup> plan = PlanHeads({&near, &far}, 4, {5});
  ASSERT_EQ(plan.size(), 1);
  EXPECT_EQ(plan[0].algorithm->name(), "far");
  EXPECT_THAT(plan[0].reason, StartsWith("fastest of those that serve a head of 5 tokens"));
  EXPECT_THAT(plan[0].reason, EndsWith("; heads [1, 2] share its call, though each has a faster "
                                       "one alone"));

  std::vector<std::string> reasons;
  Shape shape = ShapeOn({&near, &far}, 4, 1);
  shape.length = 5;
  ChooseHeads(shape, 4, 0, &reasons);
  ASSERT_EQ(reasons.size(), 4);
  EXPECT_THAT(reasons[0], StartsWith("fastest of"));
  EXPECT_THAT(reasons[1], StartsWith("shares the call of other heads, though alone near would be "
                                     "faster for a head of 5 tokens; near takes"));
}

TEST(PlannerTest, SaysOnceThatAHeadSharesACall) {
  // First b goes, whose head moves to c, then c, whose heads move to a.
  static const Timed a("a", {1, 3, 4, 1}, 10), b("b", {9, 1, 9, 9}, 10), c("c", {9, 2, 1, 9}, 10);
  std::vector<std::string> reasons;
  const std::vector<Choice> chosen = ChooseHeads(ShapeOn({&a, &b, &c}, 4, 1), 4, 0, &reasons);
  for (const Choice& choice : chosen) EXPECT_EQ(choice.algorithm->name(), "a");
  const std::string& reason = reasons[1];
  EXPECT_NE(reason.find("share"), std::string::npos);
  EXPECT_EQ(reason.find("share"), reason.rfind("share"));
}

}  // namespace
}  // namespace longwave::attention
