#ifndef LONGWAVE_TESTS_SERVER_BATCHING_BATCHER_FIXTURE_H_
#define LONGWAVE_TESTS_SERVER_BATCHING_BATCHER_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/batching/batcher.h"
#include "tests/server/batching/fake_clock.h"
#include "tests/server/batching/puppet.h"

namespace longwave {

// A batcher whose time stands still and whose one executor does what a test says.
class BatcherTest : public ::testing::Test {
 protected:
  // Without a margin, so that no deadline is judged by what the puppet took.
  static Batcher::Options Options() {
    Batcher::Options options;
    options.deadline_margin = 0;
    options.max_batch_time = absl::InfiniteDuration();
    options.spin_time = absl::ZeroDuration();
    return options;
  }

  void Make(Batcher::Options options = Options()) {
    absl::StatusOr<std::unique_ptr<Batcher>> batcher =
        Batcher::Create(options, {{&executor_, &memory_}}, &clock_, &observer_);
    ASSERT_TRUE(batcher.ok()) << batcher.status();
    batcher_ = *std::move(batcher);
  }

  WorkGroup Group(const std::vector<std::pair<std::string, int64_t>>& items,
                  absl::Duration timeout = absl::InfiniteDuration()) {
    WorkGroup group;
    group.deadline = clock_.Now() + timeout;
    for (const auto& [name, tokens] : items) {
      group.items.push_back(std::make_unique<NamedItem>(name, tokens, &endings_));
    }
    return group;
  }

  GroupId MustSchedule(WorkGroup group) {
    absl::StatusOr<GroupId> id = batcher_->Schedule(std::move(group));
    EXPECT_TRUE(id.ok()) << id.status();
    return id.value_or(0);
  }

  // Keeps the executor busy with an item "busy" until the next EndBatch().
  void Occupy() {
    MustSchedule(Group({{"busy", 1}}));
    ASSERT_THAT(executor_.AwaitBatch(), ::testing::ElementsAre("busy"));
  }

  void ExpectOk(const std::string& name) {
    const Ended ending = endings_.Await(name);
    EXPECT_TRUE(ending.status.ok()) << name << ": " << ending.status;
    EXPECT_EQ(ending.times, 1) << name;
  }

  FakeClock clock_;
  PuppetExecutor executor_;
  MemoryBudget memory_{0};
  SummingObserver observer_;
  Endings endings_;
  std::unique_ptr<Batcher> batcher_;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SERVER_BATCHING_BATCHER_FIXTURE_H_
