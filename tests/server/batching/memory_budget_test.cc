#include "server/batching/memory_budget.h"

#include <gtest/gtest.h>

namespace longwave {
namespace {

const int kA = 0, kB = 0, kC = 0;

TEST(MemoryBudgetTest, GrantsWhatThereIs) {
  MemoryBudget budget(100);
  EXPECT_TRUE(budget.Reserve(&kA, 60, Lane::kShort));
  EXPECT_FALSE(budget.Reserve(&kB, 50, Lane::kShort));
  EXPECT_TRUE(budget.Reserve(&kC, 40, Lane::kShort));
  EXPECT_EQ(budget.reserved(), 100);
  EXPECT_TRUE(budget.Release(60, Lane::kShort));  // B waits
  EXPECT_TRUE(budget.Reserve(&kB, 50, Lane::kShort));
  EXPECT_EQ(budget.reserved(), 90);
  EXPECT_FALSE(budget.Release(50, Lane::kShort));
}

TEST(MemoryBudgetTest, TellsHowMuchIsReserved) {
  int64_t told = 0;
  MemoryBudget budget(100, 16, [&](int64_t reserved) { told = reserved; });
  EXPECT_TRUE(budget.Reserve(&kA, 60, Lane::kShort));
  EXPECT_TRUE(budget.Extend(&kA, 10, Lane::kShort));
  EXPECT_EQ(told, 70);
  budget.Release(70, Lane::kShort);
  EXPECT_EQ(told, 0);
}

TEST(MemoryBudgetTest, WithoutALimitItOnlyCounts) {
  MemoryBudget budget(0);
  EXPECT_TRUE(budget.Reserve(&kA, int64_t{1} << 60, Lane::kShort));
  EXPECT_TRUE(budget.Extend(&kA, 5, Lane::kShort));
  EXPECT_EQ(budget.reserved(), (int64_t{1} << 60) + 5);
}

TEST(MemoryBudgetTest, ALargeClaimIsOvertakenOnlySoOften) {
  MemoryBudget budget(100, /*max_bypass=*/3);
  EXPECT_TRUE(budget.Reserve(&kA, 10, Lane::kShort));
  EXPECT_FALSE(budget.Reserve(&kB, 100, Lane::kShort));
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(budget.Reserve(&kC, 10, Lane::kShort));
    budget.Release(10, Lane::kShort);
  }
  EXPECT_FALSE(budget.Reserve(&kC, 10, Lane::kShort));
  EXPECT_FALSE(budget.Extend(&kC, 10, Lane::kShort));
  budget.Release(10, Lane::kShort);
  EXPECT_FALSE(budget.Reserve(&kC, 10, Lane::kShort));
  EXPECT_TRUE(budget.Reserve(&kB, 100, Lane::kShort));
  budget.Release(100, Lane::kShort);
  EXPECT_TRUE(budget.Reserve(&kC, 10, Lane::kShort));
}

TEST(MemoryBudgetTest, ShortWorkMindsNoClaimOnWhatLongWorkHolds) {
  MemoryBudget budget(100, /*max_bypass=*/2);
  EXPECT_TRUE(budget.Reserve(&kA, 60, Lane::kLong));
  EXPECT_FALSE(budget.Reserve(&kB, 50, Lane::kLong));
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(budget.Reserve(&kC, 10, Lane::kShort));
    budget.Release(10, Lane::kShort);
  }
  for (int i = 0; i < 2; ++i) {  // long work does, and counts
    EXPECT_TRUE(budget.Reserve(&kC, 10, Lane::kLong));
    budget.Release(10, Lane::kLong);
  }
  EXPECT_FALSE(budget.Reserve(&kC, 10, Lane::kLong));
  EXPECT_TRUE(budget.Withdraw(&kC));
  EXPECT_TRUE(budget.Reserve(&kC, 40, Lane::kShort));
  EXPECT_TRUE(budget.Release(60, Lane::kLong));
  EXPECT_FALSE(budget.Reserve(&kA, 10, Lane::kShort));  // B would fit without short work now
  EXPECT_TRUE(budget.Reserve(&kB, 50, Lane::kLong));
}

TEST(MemoryBudgetTest, AWithdrawnClaimIsInNobodysWay) {
  MemoryBudget budget(100, /*max_bypass=*/0);
  EXPECT_TRUE(budget.Reserve(&kA, 10, Lane::kShort));
  EXPECT_FALSE(budget.Reserve(&kB, 100, Lane::kShort));
  EXPECT_FALSE(budget.Reserve(&kC, 10, Lane::kShort));
  EXPECT_TRUE(budget.Withdraw(&kB));
  EXPECT_FALSE(budget.Withdraw(&kB));
  EXPECT_TRUE(budget.Reserve(&kC, 10, Lane::kShort));
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
