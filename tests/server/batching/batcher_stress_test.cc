// Many threads at once.
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <memory>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/batching/batcher.h"
#include "tests/server/batching/fake_clock.h"
#include "tests/server/batching/puppet.h"

namespace longwave {
namespace {

// Computes nothing.
class InstantExecutor final : public Executor {
 public:
  explicit InstantExecutor(bool shares_device) : shares_device_(shares_device) {}

  int64_t EstimateMemory(const BatchSize& size) const override { return size.tokens; }
  double PredictMilliseconds(int64_t tokens) const override { return static_cast<double>(tokens); }
  bool shares_device() const override { return shares_device_; }
  std::vector<absl::Status> Run(absl::Span<WorkItem* const> items, BatchControl* control) override {
    for (int i = 0; control != nullptr && i < 3; ++i) {
      if (!control->Continue()) {
        return std::vector<absl::Status>(items.size(), absl::CancelledError());
      }
    }
    return std::vector<absl::Status>(items.size());
  }

 private:
  const bool shares_device_;
};

// Whatever the interleaving of many threads, each admitted item ends exactly once and the queue is
// empty in the end.
struct StressCase {
  bool shares_device;
  int devices;
};
class BatcherStressTest : public ::testing::TestWithParam<StressCase> {};

TEST_P(BatcherStressTest, EachItemEndsExactlyOnce) {
  constexpr int kThreads = 4;
  constexpr int kGroups = 5000;
  constexpr int kWorkersPerDevice = 2;
  Batcher::Options options;
  options.max_batch_tokens = 64;
  options.max_queue_tokens = 512;
  options.long_item_tokens = 70;
  std::deque<InstantExecutor> executors;
  std::deque<MemoryBudget> memories;
  std::deque<LaneGate> gates;
  std::vector<Worker> workers;
  for (int device = 0; device < GetParam().devices; ++device) {
    executors.emplace_back(GetParam().shares_device);
    memories.emplace_back(200);
    gates.emplace_back(options, GetParam().shares_device);
    workers.insert(workers.end(), kWorkersPerDevice,
                   {&executors.back(), &memories.back(), &gates.back()});
  }
  SummingObserver observer;
  Endings endings;
  FakeClock clock;
  std::atomic<int> admitted{0};
  {
    absl::StatusOr<std::unique_ptr<Batcher>> batcher =
        Batcher::Create(options, workers, &clock, &observer);
    ASSERT_TRUE(batcher.ok());
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        std::mt19937 random(1234 + t);
        for (int g = 0; g < kGroups; ++g) {
          WorkGroup group;
          group.client = static_cast<uint64_t>(t);
          if (random() % 4 == 0) group.deadline = clock.Now() + absl::Milliseconds(random() % 5);
          const int items = 1 + static_cast<int>(random() % 3);
          for (int i = 0; i < items; ++i) {
            group.items.push_back(std::make_unique<NamedItem>(absl::StrCat(t, ".", g, ".", i),
                                                              1 + random() % 100, &endings));
          }
          absl::StatusOr<GroupId> id = (*batcher)->Schedule(std::move(group));
          if (id.ok()) {
            admitted += items;
            if (random() % 3 == 0) (*batcher)->Cancel(*id);
          }
          clock.Advance(absl::Milliseconds(1));
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE((*batcher)->Drain(absl::InfiniteFuture()).ok());
  }
  EXPECT_GT(admitted.load(), 0);
  EXPECT_EQ(endings.count(), static_cast<size_t>(admitted.load()));
  EXPECT_EQ(endings.most_times(), 1);
  EXPECT_EQ(observer.sums().queue_tokens, 0);
  EXPECT_EQ(observer.sums().queue_items, 0);
  EXPECT_EQ(observer.sums().lowest_queue_tokens, 0);
  for (const MemoryBudget& memory : memories) EXPECT_EQ(memory.reserved(), 0);
}

INSTANTIATE_TEST_SUITE_P(Devices, BatcherStressTest,
                         ::testing::Values(StressCase{false, 1}, StressCase{true, 1},
                                           StressCase{false, 8}, StressCase{true, 8}));

}  // namespace
}  // namespace longwave
