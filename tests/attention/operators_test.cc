// The operators as C++ calls them; their numbers are judged in the Python tests beside this file.
#include "model/attention/operators.h"

#include <ATen/ops/allclose.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/tensor.h>
#include <ATen/ops/zeros.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace longwave::attention {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr int64_t kHeads = 2, kDim = 8;

template <typename Fn>
std::string Message(const Fn& fn) {
  try {
    fn();
  } catch (const c10::Error& error) {
    return error.what_without_backtrace();
  }
  return "no error";
}

struct Inputs {
  explicit Inputs(at::IntArrayRef leading) {
    std::vector<int64_t> sizes = leading.vec();
    sizes.insert(sizes.end(), {kHeads, kDim});
    q = at::randn(sizes);
    k = at::randn(sizes);
    v = at::randn(sizes);
    projection = at::randn({4, kDim});
  }
  at::Tensor q, k, v, projection;
};

c10::intrusive_ptr<RelativeBias> Bias(int64_t length) {
  return c10::make_intrusive<RelativeBias>(at::randn({kHeads, 2 * length - 1}));
}

TEST(RelativeBiasTest, KnowsItsTable) {
  const at::Tensor table = at::randn({3, 9});
  const RelativeBias bias(table, "trf", /*causal=*/true, /*max_len=*/0, /*tolerance=*/1e-4);
  EXPECT_EQ(bias.heads(), 3);
  EXPECT_EQ(bias.length(), 5);
  EXPECT_EQ(bias.max_len(), 5);
  EXPECT_TRUE(bias.causal());
  EXPECT_TRUE(bias.table().equal(table));
}

TEST(RelativeBiasTest, TakesForbiddenDistancesButNotZero) {
  at::Tensor table = at::randn({1, 5});
  table[0][0] = -std::numeric_limits<float>::infinity();
  EXPECT_NO_THROW(RelativeBias{table});
  table[0][2] = -std::numeric_limits<float>::infinity();
  EXPECT_THAT(Message([&] { RelativeBias{table}; }), HasSubstr("bias: found -inf at distance 0"));
}

TEST(RpeAttentionTest, PackedEqualsBatched) {
  const Inputs in({3, 50});
  const auto bias = Bias(20);
  const at::Tensor batched =
      RpeAttention(in.q, in.k, in.v, in.projection, bias, std::nullopt, std::nullopt, {});
  const at::Tensor offsets = at::tensor({0, 50, 100, 150}, at::kInt);
  const std::vector<int64_t> lengths = {50, 50, 50};
  const at::Tensor packed = RpeAttention(in.q.flatten(0, 1), in.k.flatten(0, 1), in.v.flatten(0, 1),
                                         in.projection, bias, offsets, lengths, {});
  EXPECT_TRUE(packed.equal(batched.flatten(0, 1)));
}

TEST(RpeAttentionTest, AveragesWhereAllWeightsAreEqual) {
  Inputs in({1, 6});
  in.q.zero_();
  in.k.zero_();
  const auto flat = c10::make_intrusive<RelativeBias>(at::zeros({kHeads, 1}));
  for (const char* algorithm : {"auto", "direct", "fft", "reference"}) {
    AttentionOptions options;
    options.algorithm = algorithm;
    const at::Tensor out =
        RpeAttention(in.q, in.k, in.v, in.projection, flat, std::nullopt, std::nullopt, options);
    EXPECT_TRUE(at::allclose(out, in.v.mean(1, true).expand_as(in.v), 1e-5, 1e-6)) << algorithm;
  }
}

TEST(RpeAttentionTest, ErrorsNameTheArgument) {
  const Inputs in({1, 6});
  AttentionOptions options;
  options.causal = true;
  EXPECT_THAT(Message([&] {
                RpeAttention(in.q, in.k, in.v, in.projection, Bias(6), std::nullopt, std::nullopt,
                             options);
              }),
              HasSubstr("causal: found true, expected false"));
  EXPECT_THAT(Message([&] {
                RpeAttention(in.q, in.k.to(at::kHalf), in.v, in.projection, Bias(6), std::nullopt,
                             std::nullopt, {});
              }),
              HasSubstr("k: found dtype Half, expected q's Float"));
}

TEST(RpeAttention2dTest, RunsAndRefusesCausal) {
  const Inputs in({2, 12});
  const auto bias =
      c10::make_intrusive<RelativeBias2d>(at::randn({kHeads, 5, 7}), std::vector<int64_t>{3, 4});
  EXPECT_EQ(RpeAttention2d(in.q, in.k, in.v, in.projection, bias, {}).sizes(), in.v.sizes());
  AttentionOptions options;
  options.causal = true;
  EXPECT_THAT(Message([&] { RpeAttention2d(in.q, in.k, in.v, in.projection, bias, options); }),
              HasSubstr("causal: found true"));
}

TEST(RelativeBias2dTest, KeepsWhatIsMadeOfIt) {
  const RelativeBias2d bias(at::randn({kHeads, 3, 3}), {24, 16});
  EXPECT_EQ(bias.grid_bias().Convolve(384), bias.grid_bias().Convolve(384));
  EXPECT_NE(bias.grid_bias().Grid(1), nullptr);
  EXPECT_EQ(bias.grid_bias().Grid(1), bias.grid_bias().Grid(1));
}

TEST(PlanAttentionTest, NamesAnAlgorithm) {
  const at::Tensor w = at::randn({4, kDim});
  const std::string plan = PlanAttention(Bias(64), {64, 0, 8}, w, true, 1.0, "cpu", "float32", 0);
  EXPECT_THAT(plan, HasSubstr("\"algorithm\": \""));
  EXPECT_EQ(PlanAttention(Bias(64), {0}, w, true, 1.0, "cpu", "float32", 0), "{\"groups\": []}");
  EXPECT_THAT(PlanAttention(Bias(64), {64}, w, true, 1.0, "cpu", "float64", 0),
              HasSubstr("reference"));
}

TEST(PlanAttention2dTest, KnowsTheGridAndTheFeatures) {
  const at::Tensor w = at::randn({4, kDim});
  const auto plan = [&](const char* feature_map, double scale) {
    const auto bias = c10::make_intrusive<RelativeBias2d>(
        at::zeros({kHeads, 5, 7}), std::vector<int64_t>{120, 130}, feature_map);
    return PlanAttention2d(bias, w, /*normalize=*/true, scale, "cpu", "float32", 0);
  };
  EXPECT_THAT(plan("prf", 1.0), HasSubstr("\"algorithm\": \"structured\""));
  EXPECT_THAT(plan("prf", 1.0), HasSubstr("\"lengths\": [15600]"));
  EXPECT_THAT(plan("prf", 30.0), Not(HasSubstr("\"algorithm\": \"structured\"")));
  EXPECT_THAT(plan("trf", 1.0), HasSubstr("\"algorithm\": \"direct\""));
}

TEST(PlanAttentionTest, KnowsTheProjectionAndTheScale) {
  // A flat table has structure, but features beyond float32's range or of unknown size must not
  // take it.
  const auto flat = c10::make_intrusive<RelativeBias>(at::zeros({kHeads, 1999}));
  const at::Tensor w = at::randn({4, kDim});
  const auto plan = [&](bool normalize, double scale) {
    return PlanAttention(flat, {1000}, w, normalize, scale, "cpu", "float32", 0);
  };
  EXPECT_THAT(plan(true, 1.0), HasSubstr("\"algorithm\": \"structured\""));
  EXPECT_THAT(plan(true, 30.0), Not(HasSubstr("\"algorithm\": \"structured\"")));
  EXPECT_THAT(plan(false, 1.0), Not(HasSubstr("\"algorithm\": \"structured\"")));
}

}  // namespace
}  // namespace longwave::attention
