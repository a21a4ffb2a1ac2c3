#include "bench/serving/traffic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

namespace longwave::bench {
namespace {

using ::testing::HasSubstr;

TEST(TrafficTest, ParsesEveryKey) {
  const absl::StatusOr<TrafficClass> traffic = ParseTrafficClass(
      "a:length=64..4096,rate=12.5,streams=7,deadline=250ms,rpc=stream,inputs=3,pool=9,key=k");
  ASSERT_TRUE(traffic.ok()) << traffic.status();
  EXPECT_EQ(traffic->name, "a");
  EXPECT_EQ(traffic->min_tokens, 64);
  EXPECT_EQ(traffic->max_tokens, 4096);
  EXPECT_EQ(traffic->rate, 12.5);
  EXPECT_EQ(traffic->streams, 7);
  EXPECT_EQ(traffic->deadline, absl::Milliseconds(250));
  EXPECT_EQ(traffic->rpc, LoadRpc::kEncodeStream);
  EXPECT_EQ(traffic->inputs, 3);
  EXPECT_EQ(traffic->pool, 9);
  EXPECT_EQ(traffic->key, "k");
}

TEST(TrafficTest, NamesWhatIsWrong) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "NAME"},
      {"a:", "NAME"},
      {"a:length=512", "concurrency"},
      {"a:rate=1,concurrency=1", "either"},
      {"a:concurrency=2,streams=2", "either"},
      {"a:concurrency=0", "at least 1"},
      {"a:rate=-1", "per second"},
      {"a:length=9..3,rate=1", "tokens"},
      {"a:length=x,rate=1", "tokens"},
      {"a:deadline=soon,rate=1", "250ms"},
      {"a:rpc=decode,rate=1", "classify"},
      {"a:colour=red,rate=1", "colour"}};
  for (const auto& [text, expected] : cases) {
    const absl::StatusOr<TrafficClass> traffic = ParseTrafficClass(text);
    EXPECT_EQ(traffic.status().code(), absl::StatusCode::kInvalidArgument) << text;
    EXPECT_THAT(std::string(traffic.status().message()), HasSubstr(expected)) << text;
  }
}

TEST(TrafficTest, LengthsAreLogUniform) {
  TrafficClass traffic;
  traffic.min_tokens = 64;
  traffic.max_tokens = 4096;
  std::vector<int64_t> lengths = DrawLengths(traffic, 40'000, 3);
  EXPECT_GE(*std::min_element(lengths.begin(), lengths.end()), 64);
  EXPECT_LE(*std::max_element(lengths.begin(), lengths.end()), 4096);
  const double mean = std::accumulate(lengths.begin(), lengths.end(), 0.0) / 40'000;
  EXPECT_NEAR(mean, (4096 - 64) / std::log(4096.0 / 64), 20);  // its standard error is 5
  std::nth_element(lengths.begin(), lengths.begin() + 20'000, lengths.end());
  EXPECT_NEAR(static_cast<double>(lengths[20'000]), 512, 20);
  EXPECT_EQ(DrawLengths(traffic, 100, 5), DrawLengths(traffic, 100, 5));
}

TEST(TrafficTest, AFixedLengthIsFixed) {
  TrafficClass traffic;
  for (const int64_t length : DrawLengths(traffic, 100, 1)) EXPECT_EQ(length, 512);
}

TEST(TrafficTest, ADeckDealsEachCardOnceBeforeAnyComesAgain) {
  Deck deck(100, 7), same(100, 7);
  std::vector<size_t> first, second;
  for (size_t i = 0; i < 200; ++i) {
    const size_t card = deck.Deal();
    EXPECT_EQ(card, same.Deal());
    (i < 100 ? first : second).push_back(card);
  }
  EXPECT_NE(first, second);
  for (std::vector<size_t>* round : {&first, &second}) {
    EXPECT_FALSE(std::is_sorted(round->begin(), round->end()));
    std::sort(round->begin(), round->end());
    for (size_t i = 0; i < 100; ++i) EXPECT_EQ((*round)[i], i);
  }
}

TEST(TrafficTest, ArrivalsArePoisson) {
  PoissonProcess process(1000, 11);
  std::vector<int> per_slot(2000);  // slots of 10 ms: 10 arrivals each
  absl::Duration last;
  while (true) {
    const absl::Duration now = process.Next();
    ASSERT_GE(now, last);
    last = now;
    const int64_t slot = now / absl::Milliseconds(10);
    if (slot >= 2000) break;
    ++per_slot[static_cast<size_t>(slot)];
  }
  const double mean = std::accumulate(per_slot.begin(), per_slot.end(), 0.0) / 2000;
  double variance = 0;
  for (const int count : per_slot) variance += (count - mean) * (count - mean) / 2000;
  EXPECT_NEAR(mean, 10, 0.4);            // standard error 0.07
  EXPECT_NEAR(variance / mean, 1, 0.2);  // standard error 0.03
}

}  // namespace
}  // namespace longwave::bench
