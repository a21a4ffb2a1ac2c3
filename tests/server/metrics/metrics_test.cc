#include "server/metrics/metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/metrics/buckets.h"
#include "server/metrics/exposer.h"
#include "tests/server/http_get.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Scrape(Metrics& metrics) {
  return prometheus::TextSerializer().Serialize(metrics.registry()->Collect());
}

TEST(BucketsTest, DurationsCoverMicrosecondsToManySeconds) {
  const std::vector<double> bounds = DurationBuckets();
  ASSERT_EQ(bounds.size(), 35u);
  EXPECT_DOUBLE_EQ(bounds.front(), 15e-6);
  for (size_t k = 1; k < bounds.size(); ++k) EXPECT_NEAR(bounds[k] / bounds[k - 1], 1.5, 1e-12);
  EXPECT_NEAR(bounds.back(), 14.6, 0.1);
}

TEST(BucketsTest, SizesArePowersOfTwo) {
  EXPECT_THAT(PowerOfTwoBuckets(1, 8), ::testing::ElementsAre(1, 2, 4, 8));
}

TEST(MetricsTest, EverySeriesIsThereBeforeAnythingHappened) {
  Metrics metrics;
  metrics.AddModel("m", 3, {"cpu"});
  const std::string scrape = Scrape(metrics);
  for (const char* rpc : {"Encode", "EncodeStream", "Classify"}) {
    for (const char* model : {"m", Metrics::kUnknownModel}) {
      const std::string labels = absl::StrCat("model=\"", model, "\",rpc=\"", rpc, "\"");
      for (const char* code :
           {"OK", "CANCELLED", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
            "RESOURCE_EXHAUSTED", "OUT_OF_RANGE", "INTERNAL", "UNAVAILABLE"}) {
        EXPECT_EQ(SeriesValue(scrape, absl::StrCat("longwave_requests_total{code=\"", code, "\",",
                                                   labels, "}")),
                  0)
            << code << " " << labels;
      }
      EXPECT_EQ(SeriesValue(scrape,
                            absl::StrCat("longwave_request_duration_seconds_count{", labels, "}")),
                0);
    }
  }
  for (const char* series :
       {"longwave_inputs_total{code=\"OK\",model=\"m\"}", "longwave_tokens_total{model=\"m\"}",
        "longwave_padded_tokens_total{model=\"m\"}", "longwave_batch_size_count{model=\"m\"}",
        "longwave_batch_size_bucket{model=\"m\",le=\"4096\"}",
        "longwave_batch_tokens_bucket{model=\"m\",le=\"16777216\"}",
        "longwave_queue_duration_seconds_count{model=\"m\"}",
        "longwave_tokenize_duration_seconds_count{model=\"m\"}",
        "longwave_compute_duration_seconds_count{device=\"cpu\",model=\"m\"}",
        "longwave_batches_total{device=\"cpu\",lane=\"short\",model=\"m\"}",
        "longwave_batch_splits_total{model=\"m\"}", "longwave_yields_total{model=\"m\"}",
        "longwave_refusals_total{model=\"m\",reason=\"queue_full\"}",
        "longwave_dropped_inputs_total{model=\"m\",reason=\"cancelled\"}",
        "longwave_wasted_inputs_total{model=\"m\"}", "longwave_queue_tokens{model=\"m\"}",
        "longwave_queue_inputs{model=\"m\"}", "longwave_requests_in_flight"}) {
    EXPECT_EQ(SeriesValue(scrape, series), 0) << series;
  }
  EXPECT_EQ(SeriesValue(scrape, "longwave_model_info{device=\"cpu\",model=\"m\",version=\"3\"}"),
            1);
  EXPECT_THAT(scrape, HasSubstr("longwave_build_info{version=\""));
}

TEST(MetricsTest, CountsTheHeadsOfAnAlgorithm) {
  Metrics metrics;
  metrics.AddAttentionPlan("m", 3, 512, "direct", 4);
  metrics.AddAttentionPlan("m", 3, 512, "direct", 2);
  metrics.AddAttentionPlan("m", 3, 512, "structured", 6);
  const std::string scrape = Scrape(metrics);
  for (const auto& [algorithm, heads] : {std::pair{"direct", 6}, std::pair{"structured", 6}}) {
    EXPECT_EQ(
        SeriesValue(scrape, absl::StrCat("longwave_model_attention_heads{algorithm=\"", algorithm,
                                         "\",model=\"m\",tokens=\"512\",version=\"3\"}")),
        heads);
  }
}

TEST(MetricsTest, VersionsOfAModelShareItsSeries) {
  Metrics metrics;
  EXPECT_EQ(metrics.AddModel("m", 1, {"cpu"}), metrics.AddModel("m", 2, {"cpu"}));
  EXPECT_NE(metrics.AddModel("m", 1, {"cpu"}), metrics.AddModel("n", 1, {"cpu"}));
}

TEST(MetricsTest, EventsMoveTheirSeries) {
  Metrics metrics;
  ModelMetrics* model = metrics.AddModel("m", 1, {"cpu"});
  metrics.OnRequestStart();
  model->OnQueueChange(70, 2);
  EXPECT_EQ(SeriesValue(Scrape(metrics), "longwave_requests_in_flight"), 1);
  EXPECT_EQ(SeriesValue(Scrape(metrics), "longwave_queue_tokens{model=\"m\"}"), 70);
  EXPECT_EQ(SeriesValue(Scrape(metrics), "longwave_queue_inputs{model=\"m\"}"), 2);
  model->OnTokenized(absl::Microseconds(20));
  model->OnItemDequeued(absl::Milliseconds(1));
  model->OnQueueChange(-70, -2);
  model->OnBatchDone(0, Lane::kLong, 2, 70, absl::Milliseconds(8));
  model->OnRefused(Refusal::kDeadline);
  model->OnItemDropped(Drop::kExpired);
  model->OnBatchSplit();
  model->OnItemsWasted(3);
  model->OnYield();
  model->OnInputsDone(absl::StatusCode::kOk, 2);
  model->OnRequestDone(Rpc::kEncode, absl::StatusCode::kOk, absl::Milliseconds(9));
  metrics.OnRequestEnd();
  const std::string scrape = Scrape(metrics);
  EXPECT_EQ(SeriesValue(scrape, "longwave_requests_in_flight"), 0);
  EXPECT_EQ(SeriesValue(scrape, "longwave_queue_tokens{model=\"m\"}"), 0);
  EXPECT_EQ(SeriesValue(scrape, "longwave_tokens_total{model=\"m\"}"), 70);
  EXPECT_EQ(SeriesValue(scrape, "longwave_batch_size_sum{model=\"m\"}"), 2);
  EXPECT_EQ(SeriesValue(scrape, "longwave_batches_total{device=\"cpu\",lane=\"long\",model=\"m\"}"),
            1);
  EXPECT_EQ(
      SeriesValue(scrape, "longwave_batches_total{device=\"cpu\",lane=\"short\",model=\"m\"}"), 0);
  EXPECT_EQ(SeriesValue(scrape, "longwave_refusals_total{model=\"m\",reason=\"deadline\"}"), 1);
  EXPECT_EQ(SeriesValue(scrape, "longwave_dropped_inputs_total{model=\"m\",reason=\"expired\"}"),
            1);
  EXPECT_EQ(SeriesValue(scrape, "longwave_batch_splits_total{model=\"m\"}"), 1);
  EXPECT_EQ(SeriesValue(scrape, "longwave_wasted_inputs_total{model=\"m\"}"), 3);
  EXPECT_EQ(SeriesValue(scrape, "longwave_yields_total{model=\"m\"}"), 1);
  EXPECT_EQ(SeriesValue(scrape, "longwave_batch_size_bucket{model=\"m\",le=\"1\"}"), 0);
  EXPECT_EQ(SeriesValue(scrape, "longwave_batch_size_bucket{model=\"m\",le=\"2\"}"), 1);
  EXPECT_EQ(SeriesValue(scrape, "longwave_batch_tokens_sum{model=\"m\"}"), 70);
  EXPECT_NEAR(SeriesValue(scrape, "longwave_tokenize_duration_seconds_sum{model=\"m\"}"), 20e-6,
              1e-12);
  EXPECT_NEAR(SeriesValue(scrape, "longwave_queue_duration_seconds_sum{model=\"m\"}"), 1e-3, 1e-12);
  EXPECT_NEAR(
      SeriesValue(scrape, "longwave_compute_duration_seconds_sum{device=\"cpu\",model=\"m\"}"),
      8e-3, 1e-12);
  EXPECT_NEAR(
      SeriesValue(scrape, "longwave_request_duration_seconds_sum{model=\"m\",rpc=\"Encode\"}"),
      9e-3, 1e-12);
  EXPECT_EQ(SeriesValue(scrape, "longwave_inputs_total{code=\"OK\",model=\"m\"}"), 2);
  EXPECT_EQ(SeriesValue(scrape, "longwave_requests_total{code=\"OK\",model=\"m\",rpc=\"Encode\"}"),
            1);
}

TEST(MetricsTest, BatchesAreCountedByTheDeviceOfTheirWorker) {
  Metrics metrics;
  ModelMetrics* model = metrics.AddModel("m", 1, {"cuda:0", "cuda:0", "cuda:1"});
  for (const int worker : {0, 1, 1, 2}) {
    model->OnBatchDone(worker, Lane::kShort, 1, 10, absl::Milliseconds(1));
  }
  const std::string scrape = Scrape(metrics);
  for (const auto& [device, batches] : {std::pair{"cuda:0", 3}, std::pair{"cuda:1", 1}}) {
    const std::string labels = absl::StrCat("{device=\"", device, "\",model=\"m\"");
    EXPECT_EQ(SeriesValue(scrape, absl::StrCat("longwave_batches_total{device=\"", device,
                                               "\",lane=\"short\",model=\"m\"}")),
              batches);
    EXPECT_EQ(
        SeriesValue(scrape, absl::StrCat("longwave_compute_duration_seconds_count", labels, "}")),
        batches);
    EXPECT_EQ(SeriesValue(scrape, absl::StrCat("longwave_model_info", labels, ",version=\"1\"}")),
              1);
  }
}

TEST(MetricsTest, MemoryIsShownByDevice) {
  Metrics metrics;
  metrics.AddMemory("cpu", 1000)(300);
  const std::string scrape = Scrape(metrics);
  EXPECT_EQ(SeriesValue(scrape, "longwave_memory_budget_bytes{device=\"cpu\"}"), 1000);
  EXPECT_EQ(SeriesValue(scrape, "longwave_memory_reserved_bytes{device=\"cpu\"}"), 300);
}

TEST(MetricsTest, FailuresAreTimedToo) {
  Metrics metrics;
  ModelMetrics* model = metrics.AddModel("m", 1, {"cpu"});
  model->OnRequestDone(Rpc::kClassify, absl::StatusCode::kDeadlineExceeded, absl::Seconds(2));
  const std::string scrape = Scrape(metrics);
  EXPECT_EQ(SeriesValue(scrape,
                        "longwave_requests_total{code=\"DEADLINE_EXCEEDED\",model=\"m\",rpc="
                        "\"Classify\"}"),
            1);
  EXPECT_EQ(
      SeriesValue(scrape, "longwave_request_duration_seconds_sum{model=\"m\",rpc=\"Classify\"}"),
      2);
}

TEST(MetricsTest, ACodeOutsideTheContractCountsAsInternal) {
  Metrics metrics;
  metrics.AddModel("m", 1, {"cpu"})
      ->OnRequestDone(Rpc::kEncode, absl::StatusCode::kDataLoss, absl::ZeroDuration());
  const std::string scrape = Scrape(metrics);
  EXPECT_EQ(
      SeriesValue(scrape, "longwave_requests_total{code=\"INTERNAL\",model=\"m\",rpc=\"Encode\"}"),
      1);
  EXPECT_THAT(scrape, Not(HasSubstr("DATA_LOSS")));
}

TEST(MetricsExposerTest, ServesTheRegistryOverHttp) {
  Metrics metrics;
  metrics.AddModel("m", 1, {"cpu"});
  auto exposer = MetricsExposer::Create("127.0.0.1:0", metrics.registry());
  ASSERT_TRUE(exposer.ok()) << exposer.status();
  EXPECT_GT((*exposer)->port(), 0);
  EXPECT_EQ(
      SeriesValue(HttpGet((*exposer)->port(), "/metrics"), "longwave_queue_tokens{model=\"m\"}"),
      0);
}

TEST(MetricsExposerTest, APortInUseIsAClearError) {
  Metrics metrics;
  auto first = MetricsExposer::Create("127.0.0.1:0", metrics.registry());
  ASSERT_TRUE(first.ok()) << first.status();
  const std::string address = absl::StrCat("127.0.0.1:", (*first)->port());
  const absl::Status second = MetricsExposer::Create(address, metrics.registry()).status();
  EXPECT_EQ(second.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.message()), HasSubstr(address));
}

}  // namespace
}  // namespace longwave
