#include "server/batching/memory_budget.h"

#include <gtest/gtest.h>

namespace longwave {
namespace {

const int kA = 0, kB = 0, kC = 0;

TEST(MemoryBudgetTest, GrantsWhatThereIs) {
  MemoryBudget budget(100);
  EXPECT_TRUE(budget.Reserve(&kA, 60));
  EXPECT_FALSE(budget.Reserve(&kB, 50));
  EXPECT_TRUE(budget.Reserve(&kC, 40));
  EXPECT_EQ(budget.reserved(), 100);
  EXPECT_TRUE(budget.Release(60));  // B waits
  EXPECT_TRUE(budget.Reserve(&kB, 50));
  EXPECT_EQ(budget.reserved(), 90);
  EXPECT_FALSE(budget.Release(50));
}

TEST(MemoryBudgetTest, TellsHowMuchIsReserved) {
  int64_t told = 0;
  MemoryBudget budget(100, 16, [&](int64_t reserved) { told = reserved; });
  EXPECT_TRUE(budget.Reserve(&kA, 60));
  EXPECT_TRUE(budget.Extend(&kA, 10));
  EXPECT_EQ(told, 70);
  budget.Release(70);
  EXPECT_EQ(told, 0);
}

TEST(MemoryBudgetTest, WithoutALimitItOnlyCounts) {
  MemoryBudget budget(0);
  EXPECT_TRUE(budget.Reserve(&kA, int64_t{1} << 60));
  EXPECT_TRUE(budget.Extend(&kA, 5));
  EXPECT_EQ(budget.reserved(), (int64_t{1} << 60) + 5);
}

TEST(MemoryBudgetTest, ALargeClaimIsOvertakenOnlySoOften) {
  MemoryBudget budget(100, /*max_bypass=*/3);
  EXPECT_TRUE(budget.Reserve(&kA, 10));
  EXPECT_FALSE(budget.Reserve(&kB, 100));
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(budget.Reserve(&kC, 10));
    budget.Release(10);
  }
  EXPECT_FALSE(budget.Reserve(&kC, 10));
  EXPECT_FALSE(budget.Extend(&kC, 10));
  budget.Release(10);
  EXPECT_FALSE(budget.Reserve(&kC, 10));
  EXPECT_TRUE(budget.Reserve(&kB, 100));
  budget.Release(100);
  EXPECT_TRUE(budget.Reserve(&kC, 10));
}

TEST(MemoryBudgetTest, ShortWorkMindsNoClaimOnWhatLongWorkHolds) {
  MemoryBudget budget(100, /*max_bypass=*/2);
  EXPECT_TRUE(budget.Reserve(&kA, 60, Lane::kLong));
  EXPECT_FALSE(budget.Reserve(&kB, 50, Lane::kLong));
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(budget.Reserve(&kC, 10));
    budget.Release(10);
  }
  for (int i = 0; i < 2; ++i) {  // long work does, and counts
    EXPECT_TRUE(budget.Reserve(&kC, 10, Lane::kLong));
    budget.Release(10, Lane::kLong);
  }
  EXPECT_FALSE(budget.Reserve(&kC, 10, Lane::kLong));
  EXPECT_TRUE(budget.Withdraw(&kC));
  EXPECT_TRUE(budget.Reserve(&kC, 40));
  EXPECT_TRUE(budget.Release(60, Lane::kLong));
  EXPECT_FALSE(budget.Reserve(&kA, 10));  // B would fit without short work now
  EXPECT_TRUE(budget.Reserve(&kB, 50, Lane::kLong));
}

TEST(MemoryBudgetTest, AWithdrawnClaimIsInNobodysWay) {
  MemoryBudget budget(100, /*max_bypass=*/0);
  EXPECT_TRUE(budget.Reserve(&kA, 10));
  EXPECT_FALSE(budget.Reserve(&kB, 100));
  EXPECT_FALSE(budget.Reserve(&kC, 10));
  EXPECT_TRUE(budget.Withdraw(&kB));
  EXPECT_FALSE(budget.Withdraw(&kB));
  EXPECT_TRUE(budget.Reserve(&kC, 10));
}

TEST(MemoryBudgetTest, ListenersHearOfChanges) {
  MemoryBudget budget(100);
  int heard = 0;
  const int id = budget.listeners().Add([&] { ++heard; });
  budget.listeners().Tell();
  EXPECT_EQ(heard, 1);
  budget.listeners().Remove(id);
  budget.listeners().Tell();
  EXPECT_EQ(heard, 1);
}

}  // namespace
}  // namespace longwave
