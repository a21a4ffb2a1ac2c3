#include "server/host_memory.h"

#include <gtest/gtest.h>

#include "tests/support/files.h"

namespace longwave {
namespace {

using testing::TempFolder;
using testing::WriteFile;

TEST(HostMemoryTest, TheTighterLimitCounts) {
  const TempFolder folder;
  WriteFile(folder.path(), "meminfo",
            "MemTotal:       1000 kB\nMemFree:   10 kB\nMemAvailable:    500 kB\n");
  const std::string meminfo = folder.path() + "/meminfo";
  EXPECT_EQ(AvailableHostMemory(meminfo, folder.path()), 500 * 1024);
  WriteFile(folder.path(), "memory.max", "max\n");
  WriteFile(folder.path(), "memory.current", "1000\n");
  EXPECT_EQ(AvailableHostMemory(meminfo, folder.path()), 500 * 1024);
  WriteFile(folder.path(), "memory.max", "101000\n");
  EXPECT_EQ(AvailableHostMemory(meminfo, folder.path()), 100000);
  WriteFile(folder.path(), "memory.current", "200000\n");
  EXPECT_EQ(AvailableHostMemory(meminfo, folder.path()), 0);
}

TEST(HostMemoryTest, WhatCannotBeReadIsUnknown) {
  const TempFolder folder;
  EXPECT_EQ(AvailableHostMemory(folder.path() + "/none", folder.path()), 0);
  WriteFile(folder.path(), "memory.max", "1000");
  WriteFile(folder.path(), "memory.current", "400");
  EXPECT_EQ(AvailableHostMemory(folder.path() + "/none", folder.path()), 600);
}

TEST(HostMemoryTest, ThisMachineHasSome) { EXPECT_GT(AvailableHostMemory(), 0); }

}  // namespace
}  // namespace longwave
