#include "model/encoder/operators.h"

#include <ATen/Functions.h>
#include <c10/core/InferenceMode.h>
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "model/device/find_device.h"
#include "model/device/torch_device.h"

// The encoder's own operators against float64, on every device that this machine has.
namespace longwave::encoder {
namespace {

struct Case {
  const char* device;
  at::ScalarType dtype;
  double tolerance;  // largest error as a share of the largest value: half a unit of the dtype
};

class OperatorsTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const absl::StatusOr<Device*> device = FindDevice(GetParam().device);
    if (!device.ok()) GTEST_SKIP() << device.status().message();
    device_ = TorchDevice((*device)->info());
    at::manual_seed(7);
  }

  // Normal numbers that the dtype can hold, as float64 on the CPU.
  at::Tensor Random(std::vector<int64_t> shape, double offset = 0) const {
    return at::randn(shape, at::kDouble).add_(offset).to(GetParam().dtype).to(at::kDouble);
  }
  at::Tensor Placed(const at::Tensor& values) const {
    return values.to(GetParam().dtype).to(device_);
  }
  at::Tensor Vector(const at::Tensor& values) const { return values.to(at::kFloat).to(device_); }

  void ExpectClose(const at::Tensor& found, const at::Tensor& expected,
                   const std::string& what) const {
    ASSERT_EQ(found.sizes(), expected.sizes()) << what;
    const at::Tensor wide = found.to(at::kCPU).to(at::kDouble);
    const double scale = expected.abs().max().item<double>();
    const double error = at::sub(wide, expected).abs().max().item<double>() / scale;
    EXPECT_LE(error, GetParam().tolerance) << what;
  }

  const c10::InferenceMode inference_;
  at::Device device_ = at::kCPU;
};

at::Tensor ExpectedNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                        double eps) {
  return at::layer_norm(x, {x.size(1)}, weight, bias, eps);
}

// Widths on both sides of every number of loads, and widths that are no multiple of one.
TEST_P(OperatorsTest, NormOfEveryWidth) {
  for (const int64_t width :
       {1, 7, 32, 128, 136, 192, 256, 264, 512, 768, 776, 1024, 1536, 2048, 2056, 4100}) {
    const at::Tensor x = Random({13, width}, /*offset=*/3);
    const at::Tensor shift = at::randn({width}, at::kFloat).to(at::kDouble);
    const at::Tensor weight = at::randn({width}, at::kFloat).to(at::kDouble);
    const at::Tensor bias = at::randn({width}, at::kFloat).to(at::kDouble);
    const std::string what = "width " + std::to_string(width);
    const at::Tensor placed = Placed(x);
    ExpectClose(Norm(placed, std::nullopt, Vector(weight), Vector(bias), 1e-5),
                ExpectedNorm(x, weight, bias, 1e-5), what);
    const at::Tensor shifted = ExpectedNorm(at::add(x, shift), weight, bias, 1e-5);
    ExpectClose(Norm(placed, Vector(shift), Vector(weight), Vector(bias), 1e-5), shifted,
                what + ", shifted");
    at::Tensor in_place = placed.clone();
    NormInPlace(in_place, Vector(shift), Vector(weight), Vector(bias), 1e-5);
    ExpectClose(in_place, shifted, what + ", in place");
  }
}

TEST_P(OperatorsTest, EmbedKnowsWhereSequencesBegin) {
  constexpr int64_t kVocabulary = 50;
  const std::vector<int32_t> begins = {0, 1, 1, 38, 40};  // one sequence is empty
  for (const int64_t width : {5, 64, 768}) {
    const at::Tensor table = Random({kVocabulary, width});
    const at::Tensor positions = Random({40, width});
    const at::Tensor ids = at::randint(kVocabulary, {40}, at::kInt);
    const at::Tensor offsets = at::tensor(begins, at::kInt);
    at::Tensor expected = at::embedding(table, ids);
    ExpectClose(Embed(ids.to(device_), offsets.to(device_), Placed(table), std::nullopt), expected,
                "no positions");
    for (size_t s = 0; s + 1 < begins.size(); ++s) {
      const int64_t length = begins[s + 1] - begins[s];
      expected.narrow(0, begins[s], length).add_(positions.narrow(0, 0, length));
    }
    ExpectClose(Embed(ids.to(device_), offsets.to(device_), Placed(table), Placed(positions)),
                expected, "positions");
  }
}

TEST_P(OperatorsTest, SpanMeansOfEveryLength) {
  for (const int64_t width : {3, 32, 768}) {
    const at::Tensor hidden = Random({3000, width}, /*offset=*/1);
    const std::vector<std::vector<int64_t>> spans = {{0, 1},   {2999, 1},   {5, 255}, {7, 256},
                                                     {9, 257}, {100, 2900}, {0, 3000}};
    const at::Tensor packed = at::empty({static_cast<int64_t>(spans.size()), 2}, at::kLong);
    std::vector<at::Tensor> expected;
    for (size_t i = 0; i < spans.size(); ++i) {
      packed.select(0, static_cast<int64_t>(i)).copy_(at::tensor(spans[i], at::kLong));
      expected.push_back(hidden.narrow(0, spans[i][0], spans[i][1]).mean(0));
    }
    const at::Tensor means = SpanMeans(Placed(hidden), packed.to(device_), /*longest=*/3000);
    EXPECT_EQ(means.scalar_type(), at::kFloat);
    ExpectClose(means, at::stack(expected), "width " + std::to_string(width));
    // A row is what it is alone, to the bit.
    for (size_t i = 0; i < spans.size(); ++i) {
      const at::Tensor alone = SpanMeans(
          Placed(hidden), packed.narrow(0, static_cast<int64_t>(i), 1).to(device_), spans[i][1]);
      EXPECT_TRUE(at::equal(alone[0], means[static_cast<int64_t>(i)])) << i;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Encoder, OperatorsTest,
    ::testing::Values(Case{"cpu", at::kFloat, 1e-6}, Case{"cpu", at::kBFloat16, 4e-3},
                      Case{"cpu", at::kHalf, 5e-4}, Case{"cuda:0", at::kFloat, 1e-6},
                      Case{"cuda:0", at::kBFloat16, 4e-3}, Case{"cuda:0", at::kHalf, 5e-4}),
    [](const ::testing::TestParamInfo<Case>& info) {
      return std::string(info.param.device).substr(0, 4) + c10::toString(info.param.dtype);
    });

}  // namespace
}  // namespace longwave::encoder
