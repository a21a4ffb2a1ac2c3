// Every algorithm of the CPU lets its caller in between pieces of its work, changes nothing by it,
// and stops when it is told to.
#include "model/attention/checkpoint.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/randn.h>
#include <ATen/ops/zeros.h>
#include <gtest/gtest.h>

#include <string>

#include "model/attention/operators.h"

namespace longwave::attention {
namespace {

constexpr int64_t kHeads = 3;
constexpr int64_t kTokens = 5000;  // more than the short lane has
constexpr int64_t kDim = 16;

struct Stop {};

struct CheckpointCase {
  const char* algorithm;
  bool noise;  // else a table that falls smoothly
  int least;   // checkpoints
};

class CheckpointTest : public ::testing::TestWithParam<CheckpointCase> {
 protected:
  at::Tensor Attend() const {
    AttentionOptions options;
    options.algorithm = GetParam().algorithm;
    return RpeAttention(q_, k_, v_, w_, bias_, std::nullopt, std::nullopt, options);
  }

  static at::Tensor Table(bool noise) {
    if (noise) return at::randn({kHeads, 2 * kTokens - 1});
    const at::Tensor t = at::arange(1 - kTokens, kTokens, at::kFloat);
    return (t.abs() * -0.01).expand({kHeads, -1}).contiguous();
  }

  const at::Tensor q_ = at::randn({1, kTokens, kHeads, kDim});
  const at::Tensor k_ = at::randn({1, kTokens, kHeads, kDim});
  const at::Tensor v_ = at::randn({1, kTokens, kHeads, kDim});
  const at::Tensor w_ = at::randn({kDim, kDim});
  const c10::intrusive_ptr<RelativeBias> bias_ =
      c10::make_intrusive<RelativeBias>(Table(GetParam().noise));
};

TEST_P(CheckpointTest, ComeOftenAndChangeNothing) {
  const at::Tensor expected = Attend();
  int count = 0;
  at::Tensor found;
  {
    const CheckpointScope scope([&] {
      EXPECT_FALSE(HasCheckpoint());  // what the hook computes is not interrupted itself
      ++count;
    });
    found = Attend();
  }
  EXPECT_TRUE(found.equal(expected));
  EXPECT_GE(count, GetParam().least);
  EXPECT_FALSE(HasCheckpoint());
}

TEST_P(CheckpointTest, WhatTheHookThrowsEndsTheWork) {
  for (int allowed = 0; allowed < GetParam().least; allowed += 7) {
    int count = 0;
    const CheckpointScope scope([&] {
      if (++count > allowed) throw Stop();
    });
    EXPECT_THROW(Attend(), Stop);
    EXPECT_EQ(count, allowed + 1);
  }
}

// A head of FFT alone has a checkpoint for each pair of value channels (8 on one thread, 4 on two),
// part of the convolution (2) and some features.
INSTANTIATE_TEST_SUITE_P(Algorithms, CheckpointTest,
                         ::testing::Values(CheckpointCase{"structured", false, kHeads},
                                           CheckpointCase{"direct", true, 10},
                                           CheckpointCase{"fft", true, kHeads * 4 * 2}),
                         [](const auto& info) { return std::string(info.param.algorithm); });

// The keys of one block of rows may take longer than a checkpoint may be away.
TEST(DirectCheckpointTest, ComeWithinTheRowsOfALongSequence) {
  constexpr int64_t kLong = 20000;  // more keys than lie between two checkpoints
  const at::Tensor q = at::randn({1, kLong, 1, kDim}), k = at::randn({1, kLong, 1, kDim});
  const at::Tensor v = at::randn({1, kLong, 1, kDim}), w = at::randn({kDim, kDim});
  const auto bias = c10::make_intrusive<RelativeBias>(at::randn({1, 2 * kLong - 1}));
  AttentionOptions options;
  options.algorithm = "direct";
  const auto attend = [&] {
    return RpeAttention(q, k, v, w, bias, std::nullopt, std::nullopt, options);
  };
  int count = 0;
  at::Tensor found;
  {
    const CheckpointScope scope([&] { ++count; });
    found = attend();
  }
  EXPECT_TRUE(found.equal(attend()));
  // Two for each group of blocks of 128 rows that the threads solve at once.
  EXPECT_GE(count, 2 * kLong / 128 / at::get_num_threads());
}

}  // namespace
}  // namespace longwave::attention
