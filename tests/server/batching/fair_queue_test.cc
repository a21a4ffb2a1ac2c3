#include "server/batching/fair_queue.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <random>
#include <vector>

namespace longwave {
namespace {

class FairQueueTest : public ::testing::Test {
 protected:
  FairQueue::Entry& Push(uint64_t client, double cost = 1, double weight = 1,
                         Priority priority = Priority::kNormal) {
    FairQueue::Entry& entry = entries_.emplace_back();
    entry.client = client;
    entry.weight = weight;
    entry.priority = priority;
    entry.cost = cost;
    queue_.Push(entry);
    return entry;
  }

  // The cost that each client got out of the next `count` entries.
  std::map<uint64_t, double> Pop(int count) {
    std::map<uint64_t, double> costs;
    for (int i = 0; i < count; ++i) {
      const FairQueue::Entry& entry = *queue_.Front();
      costs[entry.client] += entry.cost;
      queue_.PopFront();
    }
    return costs;
  }

  FairQueue queue_;
  std::deque<FairQueue::Entry> entries_;
};

TEST_F(FairQueueTest, OneClientIsServedInOrder) {
  std::vector<FairQueue::Entry*> pushed;
  for (int i = 0; i < 5; ++i) pushed.push_back(&Push(7, 1 + i));
  EXPECT_DOUBLE_EQ(queue_.backlog(), 15);
  for (FairQueue::Entry* entry : pushed) {
    EXPECT_EQ(queue_.Front(), entry);
    queue_.PopFront();
  }
  EXPECT_EQ(queue_.Front(), nullptr);
  EXPECT_EQ(queue_.backlog(), 0);
  EXPECT_EQ(queue_.clients(), 0u);
}

TEST_F(FairQueueTest, AFlooderDoesNotHoldUpOthers) {
  for (int i = 0; i < 1000; ++i) Push(1);
  Pop(10);
  FairQueue::Entry& other = Push(2);
  Pop(1);  // the flooder's next is as old
  EXPECT_EQ(queue_.Front(), &other);
}

TEST_F(FairQueueTest, ClientsShareByWeightWhateverTheirItemsCost) {
  for (int i = 0; i < 3000; ++i) {
    Push(1, 1, 1);
    if (i < 300) Push(2, 10, 1);
    Push(3, 1, 2);
  }
  std::map<uint64_t, double> costs = Pop(2000);
  EXPECT_NEAR(costs[1] / costs[2], 1, 0.05);
  EXPECT_NEAR(costs[3] / costs[1], 2, 0.05);
}

TEST_F(FairQueueTest, AnIdleClientSavesNothingUp) {
  Push(1);
  Push(2);
  Pop(2);
  for (int i = 0; i < 100; ++i) Push(1);
  Pop(50);
  for (int i = 0; i < 100; ++i) Push(2);
  const std::map<uint64_t, double> costs = Pop(40);
  EXPECT_NEAR(costs.at(1), 20, 1);
  EXPECT_NEAR(costs.at(2), 20, 1);
}

TEST_F(FairQueueTest, AClientWithOneLargeItemAtATimePaysForEach) {
  for (int i = 0; i < 1000; ++i) Push(1);
  double large = 0, small = 0;
  Push(2, 50);
  for (int i = 0; i < 500; ++i) {
    const std::map<uint64_t, double> costs = Pop(1);
    if (costs.count(2) > 0) {
      large += 50;
      Push(2, 50);
    } else {
      small += 1;
    }
  }
  EXPECT_LE(large, small + 100);
}

TEST_F(FairQueueTest, PrioritiesOrderAClientsOwnItemsAndStarveNone) {
  for (int i = 0; i < 500; ++i) {
    for (const Priority priority : {Priority::kLow, Priority::kNormal, Priority::kHigh}) {
      Push(1, 1, 1, priority);
    }
  }
  std::map<Priority, int> served;
  for (int i = 0; i < 420; ++i) {
    ++served[queue_.Front()->priority];
    queue_.PopFront();
  }
  EXPECT_NEAR(served[Priority::kLow], 20, 1);
  EXPECT_NEAR(served[Priority::kNormal], 80, 1);
  EXPECT_NEAR(served[Priority::kHigh], 320, 1);
}

TEST_F(FairQueueTest, ARaisedPriorityTakesNothingFromOthersALoweredOneLeavesThemMore) {
  for (int i = 0; i < 1000; ++i) {
    Push(1, 1, 1, Priority::kHigh);
    Push(2);
    Push(3, 1, 1, Priority::kLow);
  }
  std::map<uint64_t, double> costs = Pop(900);
  EXPECT_NEAR(costs[1] / costs[2], 1, 0.02);
  EXPECT_NEAR(costs[2] / costs[3], 4, 0.1);
}

TEST_F(FairQueueTest, ErasedEntriesLeaveTheRestInOrder) {
  FairQueue::Entry& a = Push(1);
  FairQueue::Entry& b = Push(1);
  FairQueue::Entry& c = Push(2, 3);
  FairQueue::Entry& d = Push(1);
  queue_.Erase(b);
  queue_.Erase(c);
  EXPECT_DOUBLE_EQ(queue_.backlog(), 2);
  EXPECT_EQ(queue_.Front(), &a);
  queue_.Erase(a);
  EXPECT_EQ(queue_.Front(), &d);
  queue_.Erase(d);
  EXPECT_TRUE(queue_.empty());
  EXPECT_EQ(queue_.clients(), 0u);
}

TEST_F(FairQueueTest, TheBacklogOfAClientCountsOthersOnlyForTheirPart) {
  for (int i = 0; i < 100; ++i) Push(1);
  EXPECT_DOUBLE_EQ(queue_.BacklogUpTo(1, 1, 5), 105);
  EXPECT_DOUBLE_EQ(queue_.BacklogUpTo(2, 1, 5), 10);
  EXPECT_DOUBLE_EQ(queue_.BacklogUpTo(2, 5, 5), 6);
  Push(3, 2);
  EXPECT_DOUBLE_EQ(queue_.BacklogUpTo(2, 1, 5), 12);
}

TEST_F(FairQueueTest, AStreamOfNewClientsStarvesNobody) {
  for (int i = 0; i < 50; ++i) Push(1);
  int served = 0;
  uint64_t next_client = 2;
  for (int i = 0; i < 500; ++i) {
    for (int k = 0; k < 3; ++k) Push(next_client++);  // more than can be served
    served += queue_.Front()->client == 1;
    queue_.PopFront();
  }
  // Each round brings three others for every entry that is served.
  EXPECT_GE(served, 5);
  EXPECT_EQ(queue_.clients(), 1500u - (500 - served) + 1);
}

TEST_F(FairQueueTest, RemembersNobodyWithoutEntries) {
  std::mt19937 random(5);
  for (int i = 0; i < 20000; ++i) {
    Push(random() % 500, 1 + random() % 10);
    if (i % 2 == 1) Pop(2);
    EXPECT_LE(queue_.clients(), 1u);
  }
}

}  // namespace
}  // namespace longwave
