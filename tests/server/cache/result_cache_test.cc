#include "server/cache/result_cache.h"

#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "server/cache/result_key.h"

namespace longwave {
namespace {

constexpr int64_t kNumbers = 64;
constexpr int64_t kEntryBytes = ResultCache::kEntryOverhead + kNumbers * sizeof(float);

ResultKey Key(int32_t id) {
  const std::vector<int32_t> tokens = {id};
  return MakeResultKey("m", 1, {tokens});
}

RunResult Result(float value, int64_t numbers = kNumbers) {
  return {absl::OkStatus(), 1, numbers, std::vector<float>(static_cast<size_t>(numbers), value)};
}

TEST(ResultCacheTest, FindsWhatWasInserted) {
  ResultCache cache(100 * kEntryBytes);
  EXPECT_EQ(cache.Find(Key(1)), nullptr);
  EXPECT_EQ(cache.Insert(Key(1), Result(0.5f)), kEntryBytes);
  const std::shared_ptr<const RunResult> found = cache.Find(Key(1));
  ASSERT_NE(found, nullptr);
  EXPECT_EQ(found->values, Result(0.5f).values);
  EXPECT_EQ(found->rows, 1);
  EXPECT_EQ(found->cols, kNumbers);
  EXPECT_EQ(cache.Find(Key(2)), nullptr);
}

TEST(ResultCacheTest, KeepsTheFirstOfEqualKeys) {
  ResultCache cache(100 * kEntryBytes);
  cache.Insert(Key(1), Result(1));
  EXPECT_EQ(cache.Insert(Key(1), Result(2)), 0);
  EXPECT_EQ(cache.Find(Key(1))->values.front(), 1);
  EXPECT_EQ(cache.bytes(), kEntryBytes);
}

TEST(ResultCacheTest, GivesUpTheLeastRecentlyUsed) {
  ResultCache cache(8 * kEntryBytes);
  for (int32_t id = 0; id < 8; ++id) cache.Insert(Key(id), Result(1));
  EXPECT_EQ(cache.bytes(), 8 * kEntryBytes);
  ASSERT_NE(cache.Find(Key(0)), nullptr);  // now 1 is the oldest
  const std::shared_ptr<const RunResult> held = cache.Find(Key(2));
  cache.Find(Key(1));  // now 3 is
  EXPECT_EQ(cache.Insert(Key(8), Result(1)), 0);
  EXPECT_EQ(cache.Find(Key(3)), nullptr);
  for (const int32_t id : {0, 1, 2, 4, 5, 6, 7, 8}) EXPECT_NE(cache.Find(Key(id)), nullptr) << id;
  for (int32_t id = 20; id < 40; ++id) cache.Insert(Key(id), Result(3));
  EXPECT_EQ(held->values.front(), 1);  // a reader's result outlives its entry
  EXPECT_EQ(cache.bytes(), 8 * kEntryBytes);
}

TEST(ResultCacheTest, OneResultTakesAnEighthAtMost) {
  ResultCache cache(8 * kEntryBytes);
  EXPECT_EQ(cache.Insert(Key(1), Result(1, kNumbers + 1)), 0);
  EXPECT_EQ(cache.Find(Key(1)), nullptr);
  EXPECT_EQ(cache.bytes(), 0);
}

TEST(ResultCacheTest, ManyThreadsStayWithinTheBound) {
  constexpr int64_t kMaxBytes = 16 * kEntryBytes;
  ResultCache cache(kMaxBytes);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int32_t i = 0; i < 2000; ++i) {
        const int32_t id = (i * 7) % 50;
        if (const auto found = cache.Find(Key(id)); found != nullptr) {
          EXPECT_EQ(found->values.back(), static_cast<float>(id));
        }
        cache.Insert(Key(id), Result(static_cast<float>(id)));
        EXPECT_LE(cache.bytes(), kMaxBytes);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
}

TEST(ResultKeyTest, DependsOnEverythingThatTheResultDoes) {
  const std::vector<int32_t> tokens = {1, 2, 3};
  const std::vector<int32_t> other = {1, 2, 4};
  const std::vector<int32_t> shorter = {1, 2};
  RunItem encode{tokens};
  RunItem classify{tokens, Task::kClassify};
  std::vector<ResultKey> keys = {
      MakeResultKey("m", 1, encode),
      MakeResultKey("n", 1, encode),
      MakeResultKey("m", 2, encode),
      MakeResultKey("m", 1, classify),
      MakeResultKey("m", 1, {tokens, Task::kEncode, Pooling::kNone}),
      MakeResultKey("m", 1, {tokens, Task::kEncode, Pooling::kMean, true}),
      MakeResultKey("m", 1, {tokens, Task::kClassify, Pooling::kMean, false, 1}),
      MakeResultKey("m", 1, {other}),
      MakeResultKey("m", 1, {shorter}),
      MakeResultKey("m\1\0\0\0", 1, {shorter}),
  };
  for (size_t i = 0; i < keys.size(); ++i) {
    for (size_t j = 0; j < i; ++j) EXPECT_FALSE(keys[i] == keys[j]) << i << " " << j;
  }
}

TEST(ResultKeyTest, DependsOnNothingElse) {
  std::vector<int32_t> tokens(1000);
  std::iota(tokens.begin(), tokens.end(), 0);
  const std::vector<int32_t> copy = tokens;
  EXPECT_EQ(MakeResultKey("m", 1, {tokens}), MakeResultKey("m", 1, {copy}));
  // A head means nothing to an encoding, nor pooling to a classification.
  EXPECT_EQ(MakeResultKey("m", 1, {tokens, Task::kEncode, Pooling::kMean, false, 0}),
            MakeResultKey("m", 1, {tokens, Task::kEncode, Pooling::kMean, false, 1}));
  EXPECT_EQ(MakeResultKey("m", 1, {tokens, Task::kClassify, Pooling::kMean}),
            MakeResultKey("m", 1, {tokens, Task::kClassify, Pooling::kNone}));
}

}  // namespace
}  // namespace longwave
