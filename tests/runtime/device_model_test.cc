#include "model/runtime/device_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <functional>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "model/device/cpu_device.h"
#include "model/device/find_device.h"
#include "model/device/torch_device.h"
#include "model/encoder/load_weights.h"
#include "model/runtime/graph_shape.h"
#include "model/tokenizer/factory.h"
#include "tests/support/files.h"
#include "tests/support/random_model.h"

// A model on a device with streams answers as a model on the CPU does. The CPU itself is such a
// device, too, only one that nobody would run like that.
namespace longwave {
namespace {

using ::testing::HasSubstr;

struct Case {
  const char* device;
  const char* dtype;
  double tolerance;  // of answers, as a share of the largest value
};

ModelConfig Config() {
  ModelConfig config = testing::SmallModelConfig();
  config.max_length = 40000;
  config.max_position_embeddings = 0;
  return config;
}

std::vector<int32_t> RandomIds(int64_t length, uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_int_distribution<int32_t> id(0, 259);
  std::vector<int32_t> ids(length);
  for (int32_t& value : ids) value = id(generator);
  return ids;
}

double Difference(const std::vector<float>& found, const std::vector<float>& expected) {
  if (found.size() != expected.size()) return INFINITY;
  double largest = 0, difference = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    largest = std::max(largest, std::fabs(static_cast<double>(expected[i])));
    difference = std::max(difference, std::fabs(static_cast<double>(found[i]) - expected[i]));
  }
  return difference / largest;
}

class DeviceModelTest : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const absl::StatusOr<Device*> device = FindDevice(GetParam().device);
    if (!device.ok()) GTEST_SKIP() << device.status().message();
    device_ = *device;
    testing::WriteRandomModel(folder_.path(), Config(), /*seed=*/80);
    expected_ = Load({.device = "cpu", .threads = 2});
    model_ = LoadDeviceModel({.threads = 2});
  }

  std::unique_ptr<Model> Load(const Model::Options& options) const {
    auto model = Model::Load(folder_.path(), options);
    EXPECT_TRUE(model.ok()) << model.status();
    return *std::move(model);
  }

  // As Model::Load does for a GPU, but for any device.
  std::unique_ptr<Model> LoadDeviceModel(const DeviceModel::Options& options) const {
    const auto config = LoadModelConfig(folder_.path());
    const auto file = SafetensorsFile::Open(folder_.path(), "model.safetensors");
    const auto weights = LoadEncoderWeights(*config, *file);
    EXPECT_TRUE(weights.ok()) << weights.status();
    ModelInfo info = expected_->info();
    info.device = device_->info().name;
    const at::ScalarType dtype = std::string(GetParam().dtype) == "bfloat16"  ? at::kBFloat16
                                 : std::string(GetParam().dtype) == "float16" ? at::kHalf
                                                                              : at::kFloat;
    auto model = DeviceModel::Create(
        info, *CreateTokenizer(folder_.path(), *config), device_,
        Encoder(*config, PlaceWeights(*weights, TorchDevice(device_->info()), dtype)), options);
    EXPECT_TRUE(model.ok()) << model.status();
    return *std::move(model);
  }

  void ExpectSame(const std::vector<RunItem>& items, const std::string& what) {
    const std::vector<RunResult> expected = expected_->Run(items);
    const std::vector<RunResult> found = model_->Run(items);
    ASSERT_EQ(found.size(), items.size());
    for (size_t i = 0; i < items.size(); ++i) {
      EXPECT_EQ(found[i].status.code(), expected[i].status.code()) << found[i].status;
      EXPECT_EQ(found[i].rows, expected[i].rows);
      EXPECT_EQ(found[i].cols, expected[i].cols);
      if (!expected[i].status.ok()) continue;
      EXPECT_LE(Difference(found[i].values, expected[i].values), GetParam().tolerance)
          << what << ", item " << i << " of " << items[i].tokens.size() << " tokens";
    }
  }

  // Every kind of item, for sequences of these lengths.
  std::vector<RunItem> Items(const std::vector<int64_t>& lengths, uint32_t seed) {
    std::vector<RunItem> items;
    for (size_t i = 0; i < lengths.size(); ++i) {
      ids_.push_back(std::make_unique<std::vector<int32_t>>(RandomIds(lengths[i], seed + i)));
      RunItem item;
      item.tokens = *ids_.back();
      item.task = i % 3 == 2 ? Task::kClassify : Task::kEncode;
      item.pooling = i % 3 == 1   ? Pooling::kNone
                     : i % 2 == 0 ? Pooling::kMean
                                  : Pooling::kFirstToken;
      item.normalize = i % 4 == 0;
      item.head = static_cast<int>(i / 3 % 2);
      items.push_back(item);
    }
    return items;
  }

  const testing::TempFolder folder_;
  std::vector<std::unique_ptr<std::vector<int32_t>>> ids_;
  Device* device_ = nullptr;
  std::unique_ptr<Model> expected_, model_;
};

TEST_P(DeviceModelTest, AnswersAsTheCpuDoes) {
  ExpectSame({}, "no items");
  ExpectSame(Items({1}, 1), "one token");
  ExpectSame(Items({1, 300, 2, 63, 512, 64, 65, 3, 128, 17, 511, 1}, 2), "ragged");
  ExpectSame(Items({5000, 3, 9000}, 3), "long");
}

// The same shape again and again: the first time launched, the second captured, then replayed, each
// time with other ids and other lengths of the same sum or nearly so.
TEST_P(DeviceModelTest, RepeatedShapesGiveRightAnswers) {
  for (uint32_t run = 0; run < 5; ++run) {
    ExpectSame(Items({512 - 3 * static_cast<int64_t>(run)}, 10 * run), "alone");
    ExpectSame(Items({100 + run, 200 - run, 70, 1 + run}, 10 * run), "together");
    ExpectSame(Items({64 - run, 30, 20 + run}, 10 * run), "few");
    // As many tokens in sequences of up to 512, of up to 1,024, and in one that is longer.
    ExpectSame(Items({512 - run, 300 + run, 512, 90, 1 + run}, 10 * run), "short");
    ExpectSame(Items({1000 - run, 300 + run, 90, 20, 5 + run}, 10 * run), "longer");
    ExpectSame(Items({1200 - run, 100 + run, 90, 20, 5 + run}, 10 * run), "long");
  }
  // In between two replays of one shape another one overwrites the memory that they share.
  ExpectSame(Items({512}, 90), "alone again");
}

TEST_P(DeviceModelTest, ABadItemFailsAlone) {
  std::vector<RunItem> items = Items({20, 20, 20, 20}, 4);
  const std::vector<int32_t> negative = {1, -1}, beyond = {1, 2, 260}, huge = {1 << 30};
  items[0].tokens = negative;
  items[1].tokens = beyond;
  items[2].tokens = huge;
  ExpectSame(items, "bad ids");
  ExpectSame(Items({20}, 5), "afterwards");
}

class CountingControl final : public RunControl {
 public:
  explicit CountingControl(int allowed) : allowed_(allowed) {}
  bool Continue() override { return ++calls_ <= allowed_; }
  int calls() const { return calls_; }

 private:
  const int allowed_;
  int calls_ = 0;
};

TEST_P(DeviceModelTest, ARunStopsBetweenChunks) {
  const std::vector<RunItem> items = Items({20000, 7}, 6);
  CountingControl always(1 << 30);
  const std::vector<RunResult> whole = model_->Run(items, {&always, /*background=*/true});
  ASSERT_TRUE(whole[0].status.ok()) << whole[0].status;
  EXPECT_GT(always.calls(), 3);
  CountingControl twice(2);
  for (const RunResult& result : model_->Run(items, {&twice, true})) {
    EXPECT_EQ(result.status.code(), absl::StatusCode::kCancelled);
  }
  EXPECT_EQ(twice.calls(), 3);
  const std::vector<RunResult> again = model_->Run(items);
  EXPECT_EQ(again[0].values, whole[0].values);
}

TEST_P(DeviceModelTest, RunsOfSeveralThreadsDoNotMix) {
  const std::vector<RunItem> small = Items({64, 30}, 7), large = Items({7000}, 8);
  const std::vector<RunResult> small_alone = model_->Run(small), large_alone = model_->Run(large);
  const auto repeat = [&](const std::vector<RunItem>& items, const std::vector<RunResult>& alone,
                          bool background) {
    for (int i = 0; i < 10; ++i) {
      const std::vector<RunResult> found = model_->Run(items, {nullptr, background});
      for (size_t k = 0; k < items.size(); ++k) {
        EXPECT_TRUE(found[k].status.ok()) << found[k].status << " in run " << i;
        EXPECT_LE(Difference(found[k].values, alone[k].values), GetParam().tolerance)
            << "run " << i << ", item " << k << " of " << items[k].tokens.size() << " tokens";
      }
    }
  };
  std::thread other([&] { repeat(large, large_alone, true); });
  std::thread third([&] { repeat(small, small_alone, false); });
  repeat(small, small_alone, false);
  other.join();
  third.join();
}

TEST_P(DeviceModelTest, InvariantBatchesAreEqualToTheBit) {
  DeviceModel::Options options;
  options.threads = 2;
  options.batch_invariant = true;
  const std::unique_ptr<Model> invariant = LoadDeviceModel(options);
  const std::vector<RunItem> items = Items({1, 300, 2, 63, 512}, 9);
  for (int run = 0; run < 3; ++run) {
    const std::vector<RunResult> together = invariant->Run(items);
    for (size_t i = 0; i < items.size(); ++i) {
      EXPECT_EQ(together[i].values, invariant->Run({&items[i], 1})[0].values) << i;
    }
  }
}

TEST_P(DeviceModelTest, EstimatesItsMemory) {
  EXPECT_LT(model_->EstimateMemory({1, 100, 100}), model_->EstimateMemory({1, 100000, 100000}));
  if (!device_->info().is_cuda) return;  // its allocator does not count
  for (const int64_t length : {512, 9000, 40000}) {
    const std::vector<RunItem> items = Items({length}, 11);
    const auto before = device_->Memory();
    device_->ResetPeakMemory();
    ASSERT_TRUE(model_->Run(items)[0].status.ok());
    const double taken = static_cast<double>(device_->Memory()->peak_used - before->used);
    EXPECT_GE(static_cast<double>(model_->EstimateMemory({1, length, length})), 0.9 * taken)
        << length;
  }
  EXPECT_GT(model_->info().free_memory, 0);
  EXPECT_TRUE(model_->info().shares_device);
}

INSTANTIATE_TEST_SUITE_P(
    Devices, DeviceModelTest,
    ::testing::Values(Case{"cpu", "float32", 1e-5}, Case{"cuda:0", "float32", 2e-5},
                      Case{"cuda:0", "bfloat16", 4e-2}, Case{"cuda:0", "float16", 6e-3}),
    [](const ::testing::TestParamInfo<Case>& info) {
      return std::string(info.param.device).substr(0, 4) + "_" + info.param.dtype;
    });

// The CPU, which claims that graphs pay there but can capture none.
class NoGraphsStream final : public Stream {
 public:
  NoGraphsStream(std::unique_ptr<Stream> stream, std::atomic<int>* captures)
      : stream_(std::move(stream)), captures_(captures) {}

  absl::Status Run(absl::FunctionRef<absl::Status()> launch) override {
    return stream_->Run(launch);
  }
  absl::StatusOr<std::unique_ptr<Graph>> Capture(std::function<absl::Status()>) override {
    ++*captures_;
    return absl::InternalError("capture: not here");
  }
  absl::StatusOr<std::unique_ptr<Event>> Record() override { return stream_->Record(); }
  absl::Status Synchronize() override { return stream_->Synchronize(); }

 private:
  const std::unique_ptr<Stream> stream_;
  std::atomic<int>* const captures_;
};

class NoGraphsDevice final : public Device {
 public:
  NoGraphsDevice() : info_(cpu_.info()) { info_.fast_graphs = true; }

  const DeviceInfo& info() const override { return info_; }
  absl::StatusOr<std::unique_ptr<Stream>> CreateStream(StreamPriority priority) override {
    auto stream = cpu_.CreateStream(priority);
    if (!stream.ok()) return stream.status();
    return std::make_unique<NoGraphsStream>(*std::move(stream), &captures_);
  }
  absl::StatusOr<std::unique_ptr<PinnedBuffer>> AllocatePinned(int64_t bytes) override {
    return cpu_.AllocatePinned(bytes);
  }
  absl::StatusOr<DeviceMemory> Memory() const override { return cpu_.Memory(); }
  absl::Status SetMemoryLimit(int64_t bytes) override { return cpu_.SetMemoryLimit(bytes); }
  void ResetPeakMemory() override { cpu_.ResetPeakMemory(); }
  absl::Status ReleaseCachedMemory() override { return cpu_.ReleaseCachedMemory(); }
  absl::Status Synchronize() override { return cpu_.Synchronize(); }

  int captures() const { return captures_; }

 private:
  CpuDevice cpu_;
  DeviceInfo info_;
  std::atomic<int> captures_{0};
};

// Batches that fill their shapes: the CPU, unlike a GPU, refuses tokens behind the last sequence
// and takes the lengths of a capture at their word. So replays can be tested on a GPU only.
class NoGraphsTest : public DeviceModelTest {
 protected:
  void SetUp() override {
    testing::WriteRandomModel(folder_.path(), Config(), /*seed=*/82);
    device_ = &fake_;
    expected_ = Load({.device = "cpu", .threads = 2});
    model_ = LoadDeviceModel({.threads = 2});
  }
  void TearDown() override { model_.reset(); }  // before its device

  NoGraphsDevice fake_;
};

TEST_P(NoGraphsTest, AShapeThatCannotBeCapturedIsTriedOnceAndAnswered) {
  const int before = fake_.captures();
  for (uint32_t run = 0; run < 4; ++run) {
    ExpectSame(Items({128}, 10 * run), "alone");
    ExpectSame(Items({512, 512}, 10 * run), "together");
    EXPECT_EQ(fake_.captures() - before, run == 0 ? 0 : 2) << run;
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, NoGraphsTest, ::testing::Values(Case{"cpu", "float32", 1e-5}));

TEST(LoadOnDeviceTest, LoadsWhereItIsTold) {
  const testing::TempFolder folder;
  testing::WriteRandomModel(folder.path(), Config(), /*seed=*/81);
  const auto load = [&](Model::Options options) { return Model::Load(folder.path(), options); };
  const auto cpu = load({});
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  EXPECT_EQ((*cpu)->info().device, "cpu");
  EXPECT_EQ((*cpu)->info().dtype, "float32");

  const auto narrow = load({.dtype = "bfloat16"});
  ASSERT_TRUE(narrow.ok()) << narrow.status();
  EXPECT_EQ((*narrow)->info().dtype, "bfloat16");
  const std::vector<int32_t> ids = RandomIds(40, 1);
  RunItem item;
  item.tokens = ids;
  for (item.pooling = Pooling::kMean;; item.pooling = Pooling::kNone) {
    const RunResult found = (*narrow)->Run({&item, 1})[0];
    const RunResult expected = (*cpu)->Run({&item, 1})[0];
    const double difference = Difference(found.values, expected.values);
    EXPECT_LE(difference, 3e-2);
    EXPECT_GT(difference, 1e-5);
    if (item.pooling == Pooling::kNone) break;
  }

  const auto chosen = load({.device = "auto"});
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  const auto gpu = load({.device = "cuda:0"});
  if (gpu.ok()) {
    EXPECT_EQ((*chosen)->info().device, "cuda:0");
    EXPECT_EQ((*chosen)->info().dtype, "bfloat16");
  } else {
    EXPECT_EQ(gpu.status().code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ((*chosen)->info().device, "cpu");
  }
  EXPECT_THAT(std::string(load({.device = "gpu"}).status().message()), HasSubstr("found 'gpu'"));
  EXPECT_THAT(std::string(load({.dtype = "int8"}).status().message()), HasSubstr("found 'int8'"));
  EXPECT_EQ(load({.device_memory_limit = -1}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(GraphShapeTest, HoldsTheBatchAndWastesLittle) {
  EXPECT_FALSE(GraphShapeFor({4097, 1, 4097}, 4096).has_value());
  EXPECT_FALSE(GraphShapeFor({1, 1, 1}, 0).has_value());
  EXPECT_FALSE(GraphShapeFor({100, 65, 40}, 4096).has_value());
  for (int64_t tokens = 1; tokens <= 4096; ++tokens) {
    for (const int64_t longest : {(tokens + 2) / 3, tokens}) {
      const GraphShape shape = *GraphShapeFor({tokens, 3, longest}, 4096);
      EXPECT_EQ(shape.sequences, 4);
      ASSERT_GE(shape.longest, longest);
      ASSERT_GE(shape.tokens, tokens);
      ASSERT_LT(shape.tokens - tokens, 64);
      // A shape holds itself: batches that fill it share it with those that do not.
      ASSERT_EQ(GraphShapeFor({shape.tokens, 4, shape.longest}, 1 << 20), shape);
    }
  }
}

TEST(GraphShapeTest, KeepsBatchesOfShortSequencesApart) {
  // Not where all tokens are few, nor beside a long sequence.
  EXPECT_EQ(GraphShapeFor({400, 4, 100}, 4096)->longest, 448);
  EXPECT_EQ(GraphShapeFor({4000, 8, 500}, 4096)->longest, 512);
  EXPECT_EQ(GraphShapeFor({4000, 8, 512}, 4096)->longest, 512);
  EXPECT_EQ(GraphShapeFor({4000, 8, 513}, 4096)->longest, 1024);
  EXPECT_EQ(GraphShapeFor({4000, 8, 1025}, 4096)->longest, 4032);
}

TEST(GraphShapeTest, CapturesForTheLongestSequenceAndAllTokens) {
  using Lengths = std::vector<int64_t>;
  EXPECT_EQ(CaptureLengths({128, 2, 128}), (Lengths{128, 0}));
  EXPECT_EQ(CaptureLengths({2112, 8, 512}), (Lengths{512, 400, 400, 400, 400, 0, 0, 0}));
  for (int64_t sequences = 1; sequences <= 64; ++sequences) {
    for (int64_t longest = 1; longest <= 4096 / sequences; ++longest) {
      const GraphShape shape = *GraphShapeFor({sequences * longest, sequences, longest}, 4096);
      const Lengths lengths = CaptureLengths(shape);
      ASSERT_EQ(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}), shape.tokens);
      ASSERT_EQ(*std::max_element(lengths.begin(), lengths.end()), shape.longest);
      ASSERT_EQ(static_cast<int64_t>(lengths.size()), shape.sequences);
    }
  }
}

}  // namespace
}  // namespace longwave
