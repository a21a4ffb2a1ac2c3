#include "server/batching/work_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/server/batching/puppet.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class WorkQueueTest : public ::testing::Test {
 protected:
  // A group of items named `prefix`0, `prefix`1, ... with so many tokens each.
  WorkGroup Group(const std::string& prefix, const std::vector<int64_t>& tokens,
                  absl::Time deadline = absl::InfiniteFuture()) {
    WorkGroup group;
    group.deadline = deadline;
    for (size_t i = 0; i < tokens.size(); ++i) {
      group.items.push_back(
          std::make_unique<NamedItem>(prefix + std::to_string(i), tokens[i], &endings_));
    }
    return group;
  }

  static std::vector<std::string> Names(const std::vector<DequeuedItem>& items) {
    std::vector<std::string> names;
    for (const DequeuedItem& dequeued : items) {
      names.push_back(static_cast<const NamedItem&>(*dequeued.item).name());
    }
    return names;
  }

  const absl::Time start_ = absl::UnixEpoch();
  Endings endings_;
  WorkQueue queue_;
};

TEST_F(WorkQueueTest, CountsTokensAndItems) {
  EXPECT_TRUE(queue_.empty());
  queue_.Push(Group("a", {5, 7}), start_);
  const GroupId b = queue_.Push(Group("b", {11}), start_);
  EXPECT_EQ(queue_.tokens(), 23);
  EXPECT_EQ(queue_.items(), 3);
  queue_.TakeGroup(b, start_);
  EXPECT_EQ(queue_.tokens(), 12);
  EXPECT_EQ(queue_.items(), 2);
  queue_.TakeAll(start_);
  EXPECT_EQ(queue_.tokens(), 0);
  EXPECT_EQ(queue_.items(), 0);
  EXPECT_TRUE(queue_.empty());
}

TEST_F(WorkQueueTest, FillsABatchUpToTheTokenBudgetExactly) {
  queue_.Push(Group("a", {40, 60, 1}), start_);
  EXPECT_THAT(Names(queue_.TakeBatch(100, 10, start_)), ElementsAre("a0", "a1"));
  EXPECT_THAT(Names(queue_.TakeBatch(100, 10, start_)), ElementsAre("a2"));
  EXPECT_THAT(Names(queue_.TakeBatch(100, 10, start_)), IsEmpty());
}

TEST_F(WorkQueueTest, FillsABatchUpToTheItemLimit) {
  queue_.Push(Group("a", {1, 1, 1}), start_);
  EXPECT_THAT(Names(queue_.TakeBatch(100, 2, start_)), ElementsAre("a0", "a1"));
  EXPECT_THAT(Names(queue_.TakeBatch(100, 2, start_)), ElementsAre("a2"));
}

TEST_F(WorkQueueTest, AnItemOverTheBudgetRunsAlone) {
  queue_.Push(Group("big", {1000}), start_);
  queue_.Push(Group("small", {1}), start_);
  EXPECT_THAT(Names(queue_.TakeBatch(100, 10, start_)), ElementsAre("big0"));
  EXPECT_THAT(Names(queue_.TakeBatch(100, 10, start_)), ElementsAre("small0"));
}

TEST_F(WorkQueueTest, SmallItemsDoNotOvertakeALargeOne) {
  queue_.Push(Group("a", {60}), start_);
  queue_.Push(Group("big", {50}), start_);
  queue_.Push(Group("c", {10}), start_);
  EXPECT_THAT(Names(queue_.TakeBatch(100, 10, start_)), ElementsAre("a0"));
  EXPECT_THAT(Names(queue_.TakeBatch(100, 10, start_)), ElementsAre("big0", "c0"));
}

TEST_F(WorkQueueTest, BatchesMixGroupsOfDifferentLengths) {
  queue_.Push(Group("a", {3, 17}), start_);
  queue_.Push(Group("b", {29}), start_);
  EXPECT_THAT(Names(queue_.TakeBatch(1000, 10, start_)), ElementsAre("a0", "a1", "b0"));
}

TEST_F(WorkQueueTest, TakesWhatIsLeftOfAPartlyTakenGroup) {
  const GroupId a = queue_.Push(Group("a", {60, 60, 60}), start_);
  EXPECT_THAT(Names(queue_.TakeBatch(100, 10, start_)), ElementsAre("a0"));
  EXPECT_THAT(Names(queue_.TakeGroup(a, start_)), ElementsAre("a1", "a2"));
  EXPECT_THAT(Names(queue_.TakeGroup(a, start_)), IsEmpty());
  EXPECT_TRUE(queue_.empty());
}

TEST_F(WorkQueueTest, AFinishedOrUnknownGroupIsEmpty) {
  const GroupId a = queue_.Push(Group("a", {1}), start_);
  queue_.TakeBatch(100, 10, start_);
  EXPECT_THAT(queue_.TakeGroup(a, start_), IsEmpty());
  EXPECT_THAT(queue_.TakeGroup(a + 1, start_), IsEmpty());
}

TEST_F(WorkQueueTest, ExpiresAtTheDeadlineNotBefore) {
  queue_.Push(Group("a", {1}, start_ + absl::Milliseconds(5)), start_);
  queue_.Push(Group("b", {1}), start_);
  queue_.Push(Group("c", {1, 1}, start_ + absl::Milliseconds(9)), start_);
  EXPECT_THAT(queue_.TakeExpired(start_ + absl::Milliseconds(4)), IsEmpty());
  EXPECT_THAT(Names(queue_.TakeExpired(start_ + absl::Milliseconds(5))), ElementsAre("a0"));
  EXPECT_THAT(Names(queue_.TakeExpired(start_ + absl::Milliseconds(9))), ElementsAre("c0", "c1"));
  EXPECT_THAT(Names(queue_.TakeAll(start_)), ElementsAre("b0"));
}

TEST_F(WorkQueueTest, MeasuresTheWait) {
  queue_.Push(Group("a", {1}), start_);
  queue_.Push(Group("b", {1}), start_ + absl::Seconds(2));
  const std::vector<DequeuedItem> batch = queue_.TakeBatch(100, 10, start_ + absl::Seconds(3));
  ASSERT_EQ(batch.size(), 2u);
  EXPECT_EQ(batch[0].waited, absl::Seconds(3));
  EXPECT_EQ(batch[1].waited, absl::Seconds(1));
}

}  // namespace
}  // namespace longwave
