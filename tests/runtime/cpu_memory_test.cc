// What a batch takes on the CPU, by the kernel's count of this process's pages, beside what
// EstimateMemory() says.

#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdint>
#include <fstream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "model/runtime/model.h"
#include "tests/support/files.h"
#include "tests/support/random_model.h"

namespace longwave {
namespace {

// Model::EstimateMemory promises to be too low by a tenth at most. What it says of a batch that is
// small beside this is of no consequence: stacks, allocator arenas, and pages that libraries touch.
constexpr double kTooLow = 0.1;
constexpr int64_t kSlackBytes = int64_t{8} << 20;

// Nor may it keep batches apart that would fit together.
constexpr double kTooHigh = 2.5;

// A line of /proc/self/status, in bytes; -1 when it is missing.
int64_t StatusBytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key;) {
    int64_t kilobytes = 0;
    if (key == name + ":" && status >> kilobytes) return kilobytes << 10;
  }
  return -1;
}

// Forgets the peak so far. False where the kernel does not let us.
bool ResetPeak() {
  std::ofstream("/proc/self/clear_refs") << "5" << std::flush;
  return StatusBytes("VmHWM") <= StatusBytes("VmRSS") + (int64_t{1} << 20);
}

struct MemoryCase {
  const char* name;
  int64_t max_distance;  // of the table, which is noise
  int64_t sequences;
  int64_t length;
};

class CpuMemoryTest : public ::testing::TestWithParam<MemoryCase> {};

TEST_P(CpuMemoryTest, TheEstimateBoundsThePeak) {
  ModelConfig config = testing::SmallModelConfig();
  config.hidden_size = 192;
  config.num_attention_heads = 6;
  config.intermediate_size = 768;
  config.attention.num_features = 32;
  config.attention.max_distance = GetParam().max_distance;
  config.max_length = 1 << 17;
  const testing::TempFolder folder;
  testing::WriteRandomModel(folder.path(), config, /*seed=*/91);
  const auto model = Model::Load(folder.path(), {.threads = 2});
  ASSERT_TRUE(model.ok()) << model.status();

  std::mt19937 random(17);
  std::vector<std::vector<int32_t>> ids(GetParam().sequences);
  std::vector<RunItem> items(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) {
    ids[i].resize(GetParam().length);
    for (int32_t& id : ids[i]) id = static_cast<int32_t>(random() % 260);
    items[i].tokens = ids[i];
  }
  // What is set up once: threads, the analysis of tables, spectra.
  ASSERT_TRUE((*model)->Run(items)[0].status.ok());

  malloc_trim(0);
  const int64_t before = StatusBytes("VmRSS");
  if (!ResetPeak()) GTEST_SKIP() << "the kernel does not forget VmHWM";
  ASSERT_TRUE((*model)->Run(items)[0].status.ok());
  const int64_t taken = StatusBytes("VmHWM") - before;
  const int64_t estimate = (*model)->EstimateMemory(
      {GetParam().sequences, GetParam().sequences * GetParam().length, GetParam().length});
  RecordProperty("taken", std::to_string(taken));
  RecordProperty("estimate", std::to_string(estimate));
  EXPECT_GE(static_cast<double>(estimate + kSlackBytes), (1 - kTooLow) * static_cast<double>(taken))
      << "estimate " << estimate << ", taken " << taken;
  EXPECT_LE(static_cast<double>(estimate),
            kTooHigh * static_cast<double>(taken) + static_cast<double>(int64_t{16} << 20))
      << "estimate " << estimate << ", taken " << taken;
}

INSTANTIATE_TEST_SUITE_P(Batches, CpuMemoryTest,
                         ::testing::Values(MemoryCase{"many_short", 129, 128, 128},
                                           MemoryCase{"full", 129, 32, 512},
                                           MemoryCase{"one_of_16k", 129, 1, 16384},
                                           MemoryCase{"one_of_64k", 129, 1, 65536},
                                           MemoryCase{"direct_of_4k", 4096, 1, 4096},
                                           MemoryCase{"noise_of_16k", 16384, 1, 16384}),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace longwave
