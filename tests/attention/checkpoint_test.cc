// Every algorithm of the CPU lets its caller in between pieces of its work, changes nothing by it,
// and stops when it is told to.
#include "model/attention/checkpoint.h"

#include <ATen/Parallel.h>
#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/log1p.h>
#include <ATen/ops/randn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "model/attention/operators.h"

namespace longwave::attention {
namespace {

constexpr int64_t kHeads = 3;
constexpr int64_t kHeight = 50, kWidth = 100;  // of the grids
constexpr int64_t kTokens = kHeight * kWidth;  // more than the short lane has
constexpr int64_t kDim = 16;

struct Stop {};

at::Tensor Distances() { return at::arange(1 - kTokens, kTokens, at::kFloat); }

at::Tensor Decay() { return (Distances().abs() * -0.01).expand({kHeads, -1}).contiguous(); }

at::Tensor Inverse() { return -at::log1p(Distances().abs()).expand({kHeads, -1}).contiguous(); }

at::Tensor Noise() { return at::randn({kHeads, 2 * kTokens - 1}); }

// Of grids: b = by + bx, and what has no structure.
at::Tensor Axial() {
  return at::randn({kHeads, 2 * kHeight - 1, 1}) + at::randn({kHeads, 1, 2 * kWidth - 1});
}

at::Tensor ClippedGrid() { return at::randn({kHeads, 9, 9}); }

at::Tensor NoiseGrid() { return at::randn({kHeads, 2 * kHeight - 1, 2 * kWidth - 1}); }

struct CheckpointCase {
  const char* name;
  const char* algorithm;
  at::Tensor (*table)();  // of rank 3: a grid's
  int least;              // checkpoints
};

class CheckpointTest : public ::testing::TestWithParam<CheckpointCase> {
 protected:
  // How often there is a checkpoint depends on the threads that work between two.
  CheckpointTest() {
    at::set_num_threads(2);
    const at::Tensor table = GetParam().table();
    if (table.dim() == 3) {
      grid_ = c10::make_intrusive<RelativeBias2d>(table, std::vector<int64_t>{kHeight, kWidth});
    } else {
      bias_ = c10::make_intrusive<RelativeBias>(table);
    }
  }

  ~CheckpointTest() override { at::set_num_threads(threads_); }

  at::Tensor Attend() const {
    AttentionOptions options;
    options.algorithm = GetParam().algorithm;
    if (grid_) return RpeAttention2d(q_, k_, v_, w_, grid_, options);
    return RpeAttention(q_, k_, v_, w_, bias_, std::nullopt, std::nullopt, options);
  }

 private:
  const int threads_ = at::get_num_threads();
  const at::Tensor q_ = at::randn({1, kTokens, kHeads, kDim});
  const at::Tensor k_ = at::randn({1, kTokens, kHeads, kDim});
  const at::Tensor v_ = at::randn({1, kTokens, kHeads, kDim});
  const at::Tensor w_ = at::randn({kDim, kDim});
  c10::intrusive_ptr<RelativeBias> bias_;
  c10::intrusive_ptr<RelativeBias2d> grid_;
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
  const int step = std::max(1, GetParam().least / 12);
  for (int allowed = 0; allowed < GetParam().least; allowed += step) {
    int count = 0;
    const CheckpointScope scope([&] {
      if (++count > allowed) throw Stop();
    });
    EXPECT_THROW(Attend(), Stop);
    EXPECT_EQ(count, allowed + 1);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Algorithms, CheckpointTest,
    ::testing::Values(
        // Three passes over the chunks of each head.
        CheckpointCase{"structured", "structured", Decay, kHeads * 3},
        CheckpointCase{"low_rank", "low_rank", Inverse, kHeads * 3},
        CheckpointCase{"direct", "direct", Noise, 30},
        // Features, and for each head and pair of value channels parts of the convolution.
        CheckpointCase{"fft", "fft", Noise, 100},
        CheckpointCase{"grid_of_blocks", "structured", ClippedGrid, 40},
        CheckpointCase{"grid_by_axes", "structured", Axial, 100},
        CheckpointCase{"grid_direct", "direct", NoiseGrid, 30},
        CheckpointCase{"grid_fft", "fft", NoiseGrid, 150}),
    [](const auto& info) { return std::string(info.param.name); });

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
