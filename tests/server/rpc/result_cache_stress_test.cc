// Cache, metrics and batcher together under many threads, without gRPC.
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <atomic>
#include <cstdint>
#include <latch>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/batching/batcher.h"
#include "server/cache/result_cache.h"
#include "server/metrics/metrics.h"
#include "server/rpc/cache_slot.h"
#include "server/rpc/inference_item.h"
#include "server/rpc/model_catalog.h"
#include "server/rpc/model_executor.h"
#include "server/rpc/service_context.h"
#include "tests/server/batching/fake_clock.h"
#include "tests/server/fake_model.h"
#include "tests/server/http_get.h"

namespace longwave {
namespace {

constexpr int64_t kCacheBytes = 16 << 10;  // 32 results: most are thrown out again

// What all requests came to.
struct Totals {
  std::atomic<int64_t> lookups{0}, hits{0}, misses{0};
  std::atomic<int64_t> admitted{0}, refused_groups{0}, computed{0}, cancelled{0};
};

// A request's inputs and how often each ended.
class Request final : public ItemSink {
 public:
  Request(std::vector<std::vector<int32_t>> inputs, Totals* totals)
      : inputs_(std::move(inputs)),
        known_(inputs_.size()),
        ends_(inputs_.size()),
        totals_(totals) {}

  const std::vector<std::vector<int32_t>>& inputs() const { return inputs_; }

  void OnItemDone(int index, ItemOutcome outcome) override {
    ++ends_[index];
    if (outcome.result.status.ok()) {
      ++totals_->computed;
      EXPECT_EQ(outcome.result.values, FakeModel::Row(inputs_[index], 0));
    } else {
      ++totals_->cancelled;
      EXPECT_EQ(outcome.result.status.code(), absl::StatusCode::kCancelled);
      EXPECT_TRUE(cancelled_) << outcome.result.status;
    }
  }

  void OnHit(int index, const RunResult& known) {
    known_[index] = true;
    EXPECT_EQ(known.values, FakeModel::Row(inputs_[index], 0));
  }

  void set_cancelled() { cancelled_ = true; }
  void set_refused() { refused_ = true; }

  // After everything: each input that was let in ended once, the others never.
  void ExpectEnded() const {
    for (size_t i = 0; i < ends_.size(); ++i) EXPECT_EQ(ends_[i], known_[i] || refused_ ? 0 : 1);
  }

 private:
  const std::vector<std::vector<int32_t>> inputs_;
  std::vector<bool> known_;  // from the cache
  std::vector<std::atomic<int>> ends_;
  Totals* const totals_;
  std::atomic<bool> cancelled_{false};
  bool refused_ = false;
};

class ResultCacheStressTest : public ::testing::Test {
 protected:
  ResultCacheStressTest() {
    Batcher::Options options;
    options.max_batch_tokens = 128;
    options.max_queue_tokens = 512;
    batcher_ = *Batcher::Create(options, {{&executor_, &memory_}, {&executor_, &memory_}}, &clock_,
                                model_metrics_);
    service_.cache = &cache_;
    service_.metrics = &metrics_;
    service_.clock = &clock_;
    served_ = {"m", 1, &model_, batcher_.get(), model_metrics_, model_.info()};
  }

  // Half of all inputs are among eight, the others among many more than the cache holds.
  static std::vector<std::vector<int32_t>> RandomInputs(std::mt19937& random) {
    std::vector<std::vector<int32_t>> inputs(1 + random() % 3);
    for (std::vector<int32_t>& ids : inputs) {
      const auto input = static_cast<int32_t>(random() % 2 == 0 ? random() % 8 : random() % 2000);
      ids.assign(2 + input % 50, input % 256);
      ids.front() = input / 256;
    }
    return inputs;
  }

  // As the RPC handlers do.
  std::shared_ptr<Request> Send(std::vector<std::vector<int32_t>> inputs, uint64_t client,
                                bool cancel) {
    auto request = std::make_shared<Request>(std::move(inputs), &totals_);
    WorkGroup group;
    group.client = client;
    for (int i = 0; i < static_cast<int>(request->inputs().size()); ++i) {
      RunItem item;
      item.tokens = request->inputs()[i];
      CacheSlot slot(service_, served_, item);
      ++totals_.lookups;
      if (const std::shared_ptr<const RunResult> known = slot.Find(); known != nullptr) {
        ++totals_.hits;
        request->OnHit(i, *known);
        continue;
      }
      ++totals_.misses;
      TokenSequence sequence;
      sequence.ids = request->inputs()[i];
      group.items.push_back(
          std::make_unique<InferenceItem>(request, i, std::move(sequence), item, slot));
    }
    if (group.items.empty()) return request;
    const auto items = static_cast<int64_t>(group.items.size());
    if (cancel) request->set_cancelled();
    const absl::StatusOr<GroupId> id = batcher_->Schedule(std::move(group));
    if (!id.ok()) {
      EXPECT_EQ(id.status().code(), absl::StatusCode::kResourceExhausted) << id.status();
      ++totals_.refused_groups;
      request->set_refused();
      return request;
    }
    totals_.admitted += items;
    if (cancel) batcher_->Cancel(*id);
    return request;
  }

  std::string Scrape() {
    return prometheus::TextSerializer().Serialize(metrics_.registry()->Collect());
  }
  static double Value(const std::string& scrape, const std::string& name,
                      const std::string& reason = "") {
    return SeriesValue(scrape, absl::StrCat("longwave_", name, "{model=\"m\"", reason, "}"));
  }

  Totals totals_;
  FakeClock clock_;
  FakeModel model_;
  ModelExecutor executor_{&model_};
  MemoryBudget memory_{0};
  Metrics metrics_;
  ModelMetrics* const model_metrics_ = metrics_.AddModel("m", 1, {"cpu", "cpu"});
  ResultCache cache_{kCacheBytes};
  ServiceContext service_;
  ServedModel served_;
  std::unique_ptr<Batcher> batcher_;  // last: it uses everything above
};

TEST_F(ResultCacheStressTest, EachInputEndsOnceAndEachLookupIsCounted) {
  constexpr int kThreads = 4, kHeld = 8, kRequests = 2000;
  std::vector<std::vector<std::shared_ptr<Request>>> requests(kThreads);
  std::latch held(kThreads);
  std::atomic<bool> stop{false};
  model_.Hold();
  std::thread scraper([&] {
    do {
      const std::string scrape = Scrape();
      EXPECT_LE(
          Value(scrape, "result_cache_hits_total") + Value(scrape, "result_cache_misses_total"),
          totals_.lookups);
    } while (!stop);
  });
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937 random(99 + t);
      // First while no batch can end, so that cancels surely meet waiting and computed inputs.
      for (int r = 0; r < kHeld; ++r) {
        requests[t].push_back(Send(RandomInputs(random), t, /*cancel=*/true));
      }
      held.count_down();
      for (int r = 0; r < kRequests; ++r) {
        requests[t].push_back(Send(RandomInputs(random), t, /*cancel=*/random() % 4 == 0));
        clock_.Advance(absl::Milliseconds(1));
      }
    });
  }
  held.wait();
  model_.Release();
  for (std::thread& thread : threads) thread.join();
  EXPECT_TRUE(batcher_->Drain(absl::InfiniteFuture()).ok());
  stop = true;
  scraper.join();

  for (const auto& of_thread : requests) {
    for (const auto& request : of_thread) request->ExpectEnded();
  }
  EXPECT_GT(totals_.hits, 0);
  EXPECT_GT(totals_.computed, 0);
  EXPECT_GT(totals_.cancelled, 0);
  EXPECT_EQ(totals_.computed + totals_.cancelled, totals_.admitted);

  const std::string scrape = Scrape();
  EXPECT_EQ(totals_.hits + totals_.misses, totals_.lookups);
  EXPECT_EQ(Value(scrape, "result_cache_hits_total"), totals_.hits);
  EXPECT_EQ(Value(scrape, "result_cache_misses_total"), totals_.misses);
  EXPECT_EQ(Value(scrape, "refusals_total", ",reason=\"queue_full\""), totals_.refused_groups);
  const double wasted = Value(scrape, "wasted_inputs_total");
  EXPECT_EQ(static_cast<double>(model_.items_run()), totals_.computed + wasted);
  EXPECT_EQ(Value(scrape, "dropped_inputs_total", ",reason=\"cancelled\"") + wasted,
            totals_.cancelled);
  EXPECT_EQ(Value(scrape, "queue_tokens"), 0);
  EXPECT_EQ(Value(scrape, "queue_inputs"), 0);
  EXPECT_EQ(SeriesValue(scrape, "longwave_result_cache_bytes"), cache_.bytes());
  EXPECT_GT(cache_.bytes(), kCacheBytes / 2);
  EXPECT_LE(cache_.bytes(), kCacheBytes);
}

}  // namespace
}  // namespace longwave
