// Plays random schedules of arrivals, cancellations, deadlines, failures and want of memory on one
// or two schedulers that share a device's memory, their threads replaced by one that takes random
// turns. Whatever happens, every admitted item ends exactly once, with a status that its story
// allows.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <random>
#include <utility>
#include <vector>

#include "server/batching/scheduler.h"

namespace longwave {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kSchedules = 5'000;
#else
constexpr int kSchedules = 100'000;
#endif

// What a test knows of an item.
struct Story {
  int64_t tokens = 0;
  absl::Time deadline;
  bool cancelled = false;
  bool poison = false;  // whatever batch it is in throws
  absl::Status answer;  // the executor's, while memory suffices
  bool out_of_memory_alone = false;
  bool threw_alone = false;
  bool answered = false;  // the executor gave `answer`
  int endings = 0;
};

class StoryItem final : public WorkItem {
 public:
  explicit StoryItem(Story* story) : story_(story) {}
  int64_t tokens() const override { return story_->tokens; }
  void Done(const absl::Status&, const ItemTiming&) override {
    ADD_FAILURE() << "not to be called";
  }
  Story& story() const { return *story_; }

 private:
  Story* const story_;
};

class CountingObserver final : public BatchObserver {
 public:
  void OnQueueChange(int64_t more_tokens, int64_t more_items) override {
    tokens += more_tokens;
    items += more_items;
    EXPECT_GE(tokens, 0);
    EXPECT_GE(items, 0);
  }
  void OnRefused(Refusal) override {}
  void OnItemDequeued(absl::Duration waited) override {
    EXPECT_GE(waited, absl::ZeroDuration());
    ++dequeued;
  }
  void OnItemDropped(Drop) override { ++dropped; }
  void OnBatchDone(int, Lane, int64_t batch_items, int64_t, absl::Duration compute) override {
    EXPECT_GE(compute, absl::ZeroDuration());
    computed += batch_items;
  }
  void OnBatchSplit() override {}
  void OnItemsWasted(int64_t) override {}
  void OnYield() override {}

  int64_t tokens = 0, items = 0, dequeued = 0, dropped = 0, computed = 0;
};

class TokenExecutor final : public Executor {
 public:
  explicit TokenExecutor(bool shares_device) : shares_device_(shares_device) {}
  int64_t EstimateMemory(const BatchSize& size) const override { return size.tokens; }
  double PredictMilliseconds(int64_t tokens) const override { return static_cast<double>(tokens); }
  bool shares_device() const override { return shares_device_; }
  std::vector<absl::Status> Run(absl::Span<WorkItem* const>, BatchControl*) override { return {}; }

 private:
  const bool shares_device_;
};

class Game {
 public:
  explicit Game(uint32_t seed)
      : random_(seed),
        executor_(Chance(3)),
        budget_(Chance(3) ? 0 : Uniform(50, 300), Uniform(0, 4)) {
    options_.max_batch_tokens = Uniform(1, 120);
    options_.max_batch_items = Uniform(1, 8);
    options_.max_queue_tokens = Uniform(100, 600);
    options_.max_queue_items = Uniform(3, 30);
    options_.long_item_tokens = Uniform(1, 100);
    options_.long_lane_share = 0.05 + 0.9 * static_cast<double>(Uniform(0, 100)) / 101;
    if (Chance(2)) options_.max_batch_time = absl::InfiniteDuration();
    if (Chance(2)) options_.deadline_margin = 0;
    memory_of_device_ = Uniform(1, 200);
    const int schedulers = Chance(4) ? 2 : 1;
    const int workers = static_cast<int>(Uniform(1, 3));
    for (int s = 0; s < schedulers; ++s) {
      std::vector<Worker> all(static_cast<size_t>(workers), {&executor_, &budget_});
      for (size_t w = 0; w < all.size(); ++w) {
        if (gates_.size() <= w) gates_.emplace_back(options_, executor_.shares_device());
        all[w].gate = &gates_[w];
      }
      schedulers_.push_back(std::make_unique<Scheduler>(options_, all, &observer_));
      for (int worker = 0; worker < workers; ++worker) {
        if (executor_.shares_device()) {
          threads_.push_back({schedulers_.back().get(), worker, Lanes::kShort, {}});
          threads_.push_back({schedulers_.back().get(), worker, Lanes::kLong, {}});
        } else {
          threads_.push_back({schedulers_.back().get(), worker, Lanes::kBoth, {}});
        }
      }
    }
  }

  void Play() {
    for (int64_t turns = Uniform(5, 50); turns > 0; --turns) {
      now_ += absl::Milliseconds(Uniform(0, 5));
      switch (Uniform(0, 5)) {
        case 0:
        case 1:
          Arrive();
          break;
        case 2:
          if (Chance(2)) CancelOne();
          break;
        default:
          Step(
              threads_[static_cast<size_t>(Uniform(0, static_cast<int64_t>(threads_.size()) - 1))]);
      }
      if (::testing::Test::HasFailure()) return;
    }
    for (const auto& scheduler : schedulers_) {
      scheduler->StopAdmitting();
      if (Chance(4)) {
        dropped_ = true;
        std::vector<Ending> endings;
        scheduler->DropWaiting(now_, endings);
        Take(std::move(endings));
        Wake(*scheduler);
      }
    }
    // Everybody goes on in turn until all is done; there is always somebody who can.
    for (int round = 0; !AllIdle(); ++round) {
      ASSERT_LT(round, 5000) << "stuck";
      for (Thread& thread : threads_) Step(thread);
      now_ += absl::Milliseconds(1);
      if (::testing::Test::HasFailure()) return;
    }
    for (const std::unique_ptr<Story>& story : stories_) EXPECT_EQ(story->endings, 1);
    EXPECT_EQ(observer_.tokens, 0);
    EXPECT_EQ(observer_.items, 0);
    EXPECT_EQ(budget_.reserved(), 0);
    EXPECT_TRUE(budget_.Reserve(this, budget_.total(), Lane::kShort));  // no claim is left behind
  }

 private:
  struct Thread {
    Scheduler* scheduler;
    int worker;
    Lanes lanes;
    std::vector<Batch> batches;  // each within the one before
    bool paused = false;         // the last of them makes way
  };
  struct Admitted {
    Scheduler* scheduler;
    GroupId id;
    std::vector<Story*> stories;
  };

  int64_t Uniform(int64_t from, int64_t to) {
    return from + static_cast<int64_t>(random_() % static_cast<uint64_t>(to - from + 1));
  }
  bool Chance(int one_in) { return random_() % static_cast<uint32_t>(one_in) == 0; }

  bool AllIdle() const {
    return std::all_of(schedulers_.begin(), schedulers_.end(),
                       [](const auto& scheduler) { return scheduler->idle(); });
  }

  void Arrive() {
    WorkGroup group;
    group.client = static_cast<uint64_t>(Uniform(0, 2));
    group.weight = static_cast<double>(Uniform(1, 3));
    group.priority = static_cast<Priority>(Uniform(0, 2));
    if (Chance(3)) group.deadline = now_ + absl::Milliseconds(Uniform(-1, 60));
    std::vector<std::unique_ptr<Story>> stories;
    for (int64_t items = Uniform(1, 4); items > 0; --items) {
      auto story = std::make_unique<Story>();
      story->tokens = Chance(5) ? Uniform(1, 250) : Uniform(1, 30);
      story->deadline = group.deadline;
      story->poison = Chance(40);
      if (Chance(20)) story->answer = absl::InvalidArgumentError("bad id");
      group.items.push_back(std::make_unique<StoryItem>(story.get()));
      stories.push_back(std::move(story));
    }
    const size_t items = group.items.size();
    Scheduler& scheduler = *schedulers_[random_() % schedulers_.size()];
    std::vector<Ending> endings;
    const absl::StatusOr<GroupId> id = scheduler.Admit(group, now_, endings);
    if (!id.ok()) {
      EXPECT_EQ(group.items.size(), items);
      EXPECT_TRUE(absl::IsResourceExhausted(id.status()) || absl::IsOutOfRange(id.status()) ||
                  absl::IsDeadlineExceeded(id.status()))
          << id.status();
    } else {
      Admitted admitted{&scheduler, *id, {}};
      for (std::unique_ptr<Story>& story : stories) {
        admitted.stories.push_back(story.get());
        stories_.push_back(std::move(story));
      }
      admitted_.push_back(std::move(admitted));
      // What was to be computed again may come on top.
      EXPECT_LE(scheduler.queue_items(), options_.max_queue_items + 8 * 3);
    }
    Take(std::move(endings));
    Wake(scheduler);
  }

  void CancelOne() {
    if (admitted_.empty()) return;
    const Admitted& admitted = admitted_[random_() % admitted_.size()];
    for (Story* story : admitted.stories) story->cancelled |= story->endings == 0;
    std::vector<Ending> endings;
    admitted.scheduler->Cancel(admitted.id, now_, endings);
    Take(std::move(endings));
    Wake(*admitted.scheduler);
  }

  void Step(Thread& thread) {
    Scheduler& scheduler = *thread.scheduler;
    if (thread.batches.empty()) {
      if (scheduler.CanStart(thread.worker, thread.lanes)) StartOn(thread, thread.lanes, 0);
      return;
    }
    const Batch batch = thread.batches.back();
    if (thread.paused) {
      if (scheduler.IsWanted(batch.id, now_) && !scheduler.MayResume(batch.id, now_)) return;
      scheduler.OnResume(batch.id, now_);
      thread.paused = false;
    }
    if (batch.lane == Lane::kLong && !Chance(3)) {
      if (!scheduler.IsWanted(batch.id, now_)) {
        thread.batches.pop_back();
        FinishOn(scheduler, batch,
                 std::vector<absl::Status>(batch.items.size(), absl::CancelledError("stopped")),
                 {});
      } else if (scheduler.ShouldYield(batch.id, now_)) {
        StartOn(thread, Lanes::kShort, batch.id);
      } else if (scheduler.ShouldPause(batch.id, now_)) {
        EXPECT_TRUE(executor_.shares_device() || schedulers_.size() > 1);
        scheduler.OnPause(batch.id, now_);
        thread.paused = true;
      }
      return;
    }
    thread.batches.pop_back();
    Compute(scheduler, batch);
  }

  void StartOn(Thread& thread, Lanes lanes, BatchId within) {
    std::vector<Ending> endings;
    const std::optional<Batch> batch =
        thread.scheduler->Start(thread.worker, lanes, within, now_, endings);
    Take(std::move(endings));
    Wake(*thread.scheduler);
    if (budget_.total() > 0) {
      EXPECT_LE(budget_.reserved(), budget_.total());
    }
    if (!batch.has_value()) return;
    ASSERT_FALSE(batch->items.empty());
    int64_t tokens = 0;
    for (const WorkItem* item : batch->items) tokens += item->tokens();
    if (batch->items.size() > 1) {
      EXPECT_LE(tokens, options_.max_batch_tokens);
      EXPECT_LE(static_cast<int64_t>(batch->items.size()), options_.max_batch_items);
    }
    EXPECT_FALSE(lanes == Lanes::kShort && batch->lane == Lane::kLong);
    EXPECT_FALSE(lanes == Lanes::kLong && batch->lane == Lane::kShort);
    thread.batches.push_back(*batch);
  }

  // The executor: poison throws, a batch beyond the device's memory fails in one of two ways.
  void Compute(Scheduler& scheduler, const Batch& batch) {
    int64_t tokens = 0;
    bool poison = false;
    for (const WorkItem* item : batch.items) {
      tokens += item->tokens();
      poison |= static_cast<const StoryItem*>(item)->story().poison;
    }
    const bool alone = batch.items.size() == 1;
    Story& first = static_cast<const StoryItem*>(batch.items[0])->story();
    std::vector<absl::Status> statuses(batch.items.size());
    absl::Status failure;
    if (tokens > memory_of_device_) {
      const absl::Status no_memory = absl::ResourceExhaustedError("no memory");
      if (alone) first.out_of_memory_alone = true;
      if (Chance(2)) {
        failure = no_memory;
      } else {
        std::fill(statuses.begin(), statuses.end(), no_memory);
      }
    } else if (poison) {
      failure = absl::InternalError("it threw");
      if (alone) first.threw_alone = true;
    } else {
      for (size_t i = 0; i < statuses.size(); ++i) {
        Story& story = static_cast<const StoryItem*>(batch.items[i])->story();
        statuses[i] = story.answer;
        story.answered = true;
      }
    }
    FinishOn(scheduler, batch, statuses, failure);
  }

  void FinishOn(Scheduler& scheduler, const Batch& batch, const std::vector<absl::Status>& statuses,
                const absl::Status& failure) {
    std::vector<Ending> endings;
    scheduler.Finish(batch.id, statuses, failure, now_, endings);
    Take(std::move(endings));
    Wake(scheduler);
  }

  // As the threads do with MemoryBudget's listeners.
  void Wake(Scheduler& changed) {
    if (!changed.TakeMemoryReleased()) return;
    for (const auto& scheduler : schedulers_) scheduler->OnMemoryChange();
  }

  void Take(std::vector<Ending> endings) {
    for (const Ending& ending : endings) {
      Story& story = static_cast<const StoryItem&>(*ending.item).story();
      EXPECT_EQ(++story.endings, 1);
      EXPECT_TRUE(IsAllowed(story, ending.status)) << ending.status;
    }
  }

  bool IsAllowed(const Story& story, const absl::Status& status) const {
    if (story.cancelled) return absl::IsCancelled(status);
    switch (status.code()) {
      case absl::StatusCode::kOk:
        return story.answered && story.answer.ok() && now_ < story.deadline;
      case absl::StatusCode::kInvalidArgument:
        return story.answered && !story.answer.ok() && now_ < story.deadline;
      case absl::StatusCode::kInternal:
        return story.threw_alone;
      case absl::StatusCode::kResourceExhausted:
        return story.out_of_memory_alone;
      case absl::StatusCode::kOutOfRange:
        return budget_.total() > 0 && story.tokens > budget_.total();
      case absl::StatusCode::kDeadlineExceeded:
        return story.deadline <= now_ ||
               (options_.deadline_margin > 0 && story.deadline < absl::InfiniteFuture());
      case absl::StatusCode::kUnavailable:
        return dropped_;
      default:
        return false;
    }
  }

  std::mt19937 random_;
  TokenExecutor executor_;
  MemoryBudget budget_;
  BatchingOptions options_;
  int64_t memory_of_device_ = 0;
  CountingObserver observer_;
  absl::Time now_ = absl::UnixEpoch() + absl::Hours(1);
  bool dropped_ = false;
  std::vector<std::unique_ptr<Story>> stories_;
  std::vector<Admitted> admitted_;
  std::deque<LaneGate> gates_;  // by worker
  std::vector<std::unique_ptr<Scheduler>> schedulers_;
  std::vector<Thread> threads_;
};

TEST(SchedulerRandomTest, EveryScheduleEndsEveryItemOnceAndRightly) {
  for (int seed = 0; seed < kSchedules; ++seed) {
    Game(static_cast<uint32_t>(seed)).Play();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace longwave
