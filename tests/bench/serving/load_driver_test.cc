#include "bench/serving/load_driver.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/serving/load_report.h"
#include "longwave/v1/inference.grpc.pb.h"

namespace longwave::bench {
namespace {

// A server whose answer to an input is the sum of its ids, and that can be made to err.
class SumService final : public v1::InferenceService::Service {
 public:
  // From the answer of this number on (from 0), every answer is off by one.
  std::atomic<int64_t> wrong_from{std::numeric_limits<int64_t>::max()};
  // From this answer on, everything is refused with this status.
  std::atomic<int64_t> refuse_from{std::numeric_limits<int64_t>::max()};
  std::atomic<grpc::StatusCode> refuse_with{grpc::StatusCode::RESOURCE_EXHAUSTED};
  // Every chunk of a stream is sent so many times.
  std::atomic<int> copies{1};

  int64_t answers() const { return answers_; }

  grpc::Status Encode(grpc::ServerContext*, const v1::EncodeRequest* request,
                      v1::EncodeResponse* response) override {
    const int64_t number = answers_++;
    if (number >= refuse_from) return {refuse_with, "full"};
    for (const v1::Input& input : request->inputs()) {
      AddSum(input, number, response->add_results()->mutable_embedding());
    }
    return grpc::Status::OK;
  }

  grpc::Status EncodeStream(grpc::ServerContext*, const v1::EncodeStreamRequest* request,
                            grpc::ServerWriter<v1::EncodeStreamResponse>* writer) override {
    const int64_t number = answers_++;
    for (int i = 0; i < request->inputs_size(); ++i) {
      v1::EncodeStreamResponse chunk;
      chunk.set_input_index(i);
      chunk.set_last(true);
      AddSum(request->inputs(i), number, chunk.mutable_rows());
      for (int copy = 0; copy < copies; ++copy) writer->Write(chunk);
    }
    return grpc::Status::OK;
  }

 private:
  void AddSum(const v1::Input& input, int64_t number, v1::Embedding* embedding) const {
    float sum = number >= wrong_from ? 1 : 0;
    for (const uint32_t id : input.token_ids().ids()) sum += static_cast<float>(id);
    embedding->set_data(std::string(reinterpret_cast<const char*>(&sum), sizeof(sum)));
  }

  std::atomic<int64_t> answers_{0};
};

class LoadDriverTest : public ::testing::Test {
 protected:
  LoadDriverTest() {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    options_.server = absl::StrCat("127.0.0.1:", port);
    options_.vocab_size = 1000;
    options_.warmup = absl::ZeroDuration();
    options_.duration = absl::Milliseconds(150);
  }

  // Runs classes to their end; what a test expects of the server from then on is set by `prepare`,
  // after the answers were learnt.
  std::unique_ptr<LoadDriver> Run(
      const std::vector<std::string>& specs, const std::function<void()>& prepare = [] {}) {
    std::vector<TrafficClass> classes;
    for (const std::string& spec : specs) classes.push_back(*ParseTrafficClass(spec));
    absl::StatusOr<std::unique_ptr<LoadDriver>> driver = LoadDriver::Create(options_, classes);
    EXPECT_TRUE(driver.ok()) << driver.status();
    prepare();
    (*driver)->Run([](absl::Duration) {});
    return *std::move(driver);
  }

  SumService service_;
  std::unique_ptr<grpc::Server> server_;
  LoadDriver::Options options_;
};

TEST_F(LoadDriverTest, AClosedLoopGetsEveryAnswerOnce) {
  options_.threads = 2;
  options_.connections = 2;
  const auto driver = Run({"a:length=1..9,concurrency=4,inputs=2,pool=5"});
  const ClassStats& stats = driver->stats(0);
  EXPECT_GE(stats.sent, 4);
  EXPECT_EQ(stats.sent, service_.answers() - 5);  // 5 were asked for beforehand
  EXPECT_EQ(stats.ended, stats.sent);
  EXPECT_EQ(stats.answered.count(), stats.sent);
  EXPECT_EQ(stats.in_deadline, stats.sent);
  EXPECT_EQ(Mistakes(*driver), 0);
  EXPECT_TRUE(driver->ClassesWithEqualAnswers().empty());
}

TEST_F(LoadDriverTest, AnOpenLoopSendsWhatItsProcessSays) {
  const auto driver = Run({"a:length=9,rate=800", "b:length=5,rate=400,streams=3"});
  for (int i = 0; i < 2; ++i) {
    PoissonProcess process(i == 0 ? 800 : 400, options_.seed + 1000 + i);
    int64_t expected = 0;
    while (process.Next() < options_.duration) ++expected;
    EXPECT_EQ(driver->stats(i).sent, expected);
    EXPECT_EQ(driver->stats(i).answered.count(), expected);
  }
  EXPECT_EQ(Mistakes(*driver), 0);
}

TEST_F(LoadDriverTest, NoticesWrongAnswers) {
  const auto driver =
      Run({"a:length=9,concurrency=1,pool=4"}, [this] { service_.wrong_from = 4 + 2; });
  const ClassStats& stats = driver->stats(0);
  ASSERT_GT(stats.sent, 2);
  EXPECT_EQ(stats.answered.count(), 2);
  EXPECT_EQ(stats.wrong, stats.sent - 2);
  EXPECT_EQ(stats.failed.count(), stats.wrong);
  EXPECT_EQ(Mistakes(*driver), stats.wrong);
}

TEST_F(LoadDriverTest, CountsRefusalsApart) {
  const auto driver =
      Run({"a:length=9,concurrency=1,pool=4"}, [this] { service_.refuse_from = 4 + 2; });
  const ClassStats& stats = driver->stats(0);
  ASSERT_GT(stats.sent, 2);
  EXPECT_EQ(stats.answered.count(), 2);
  EXPECT_EQ(stats.refused.count(), stats.sent - 2);
  EXPECT_EQ(stats.by_code[grpc::StatusCode::RESOURCE_EXHAUSTED], stats.sent - 2);
  EXPECT_EQ(Mistakes(*driver), 0);
}

TEST_F(LoadDriverTest, CountsALateDeadlineAsMissed) {
  // So little time that no end can come in its first tenth; timers let some answers through.
  const auto driver = Run({"a:length=9,concurrency=1,pool=4,deadline=1us"});
  const ClassStats& stats = driver->stats(0);
  EXPECT_GT(stats.failed.count(), 0);
  EXPECT_EQ(stats.refused.count(), 0);
  EXPECT_EQ(stats.failed.count() + stats.answered.count(), stats.sent);
  const auto json = nlohmann::json::parse(ToJson(*driver, options_, MemorySeries(0)));
  EXPECT_EQ(json["classes"][0]["accepted_in_deadline"], 0);
}

TEST_F(LoadDriverTest, CountsADeadlineThatIsRefusedAtOnceApart) {
  service_.refuse_with = grpc::StatusCode::DEADLINE_EXCEEDED;
  const auto driver = Run({"a:length=9,concurrency=1,pool=4,deadline=1h"},
                          [this] { service_.refuse_from = 4 + 2; });
  const ClassStats& stats = driver->stats(0);
  ASSERT_GT(stats.sent, 2);
  EXPECT_EQ(stats.refused.count(), stats.sent - 2);
  EXPECT_EQ(stats.failed.count(), 0);
}

TEST(IsRefusalTest, TellsWorkThatWasDroppedFromWorkThatWasNotLetIn) {
  constexpr auto kDeadline = grpc::StatusCode::DEADLINE_EXCEEDED;
  const absl::Duration limit = absl::Milliseconds(500);
  EXPECT_TRUE(IsRefusal(kDeadline, absl::Milliseconds(49), limit));
  EXPECT_FALSE(IsRefusal(kDeadline, absl::Milliseconds(50), limit));
  EXPECT_FALSE(IsRefusal(kDeadline, absl::Milliseconds(450), limit));
  EXPECT_FALSE(IsRefusal(kDeadline, absl::Milliseconds(501), limit));
  EXPECT_TRUE(IsRefusal(grpc::StatusCode::RESOURCE_EXHAUSTED, absl::Milliseconds(450), limit));
  EXPECT_TRUE(IsRefusal(grpc::StatusCode::UNAVAILABLE, absl::Milliseconds(450), limit));
  EXPECT_FALSE(IsRefusal(grpc::StatusCode::INTERNAL, absl::Milliseconds(1), limit));
}

TEST_F(LoadDriverTest, PutsStreamsTogether) {
  const auto driver = Run({"a:length=1..9,concurrency=3,inputs=4,rpc=stream"});
  EXPECT_GT(driver->stats(0).answered.count(), 0);
  EXPECT_EQ(driver->stats(0).answered.count(), driver->stats(0).sent);
  EXPECT_EQ(Mistakes(*driver), 0);
}

TEST_F(LoadDriverTest, NoticesRowsThatComeTwice) {
  const auto driver =
      Run({"a:length=9,concurrency=1,inputs=4,rpc=stream,pool=1"}, [this] { service_.copies = 2; });
  const ClassStats& stats = driver->stats(0);
  EXPECT_EQ(stats.answered.count(), 0);
  EXPECT_EQ(stats.wrong, stats.sent);
  EXPECT_EQ(stats.duplicated, 4 * stats.sent);
}

TEST_F(LoadDriverTest, SaysWhenAMixUpWouldGoUnnoticed) {
  options_.vocab_size = 1;  // every sum is 0
  const auto driver = Run({"a:length=9,concurrency=1,pool=2"});
  EXPECT_THAT(driver->ClassesWithEqualAnswers(), ::testing::ElementsAre("a"));
}

TEST_F(LoadDriverTest, WritesJson) {
  const auto driver = Run({"a:length=9,concurrency=1"});
  const auto json = nlohmann::json::parse(ToJson(*driver, options_, MemorySeries(0)));
  ASSERT_EQ(json["classes"].size(), 1u);
  EXPECT_EQ(json["classes"][0]["name"], "a");
  EXPECT_EQ(json["classes"][0]["wrong"], 0);
  EXPECT_EQ(json["classes"][0]["answered_ms"]["count"], driver->stats(0).answered.count());
}

TEST_F(LoadDriverTest, SaysThatNobodyAnswers) {
  server_->Shutdown();
  options_.connect_timeout = absl::Milliseconds(50);
  const auto driver = LoadDriver::Create(options_, {*ParseTrafficClass("a:concurrency=1")});
  EXPECT_EQ(driver.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(driver.status().message()), ::testing::HasSubstr(options_.server));
}

TEST(SameNumbersTest, AllowsWhatTheServerPromises) {
  const std::vector<float> expected = {1, -100, 0};
  EXPECT_TRUE(SameNumbers({1, -100, 0}, expected));
  EXPECT_TRUE(SameNumbers({1.0009f, -100, -0.0009f}, expected));
  EXPECT_FALSE(SameNumbers({1.0011f, -100, 0}, expected));
  EXPECT_FALSE(SameNumbers({1, -100}, expected));
  EXPECT_FALSE(SameNumbers({1, -100, std::numeric_limits<float>::quiet_NaN()}, expected));
}

TEST(SameNumbersTest, AllowsWhatItIsToldTo) {
  const std::vector<float> expected = {1, -100, 0};
  EXPECT_TRUE(SameNumbers({3.9f, -100, -2.9f}, expected, /*tolerance=*/0.03));
  EXPECT_FALSE(SameNumbers({4.1f, -100, 0}, expected, /*tolerance=*/0.03));
  EXPECT_TRUE(SameNumbers(expected, expected, /*tolerance=*/0));
}

}  // namespace
}  // namespace longwave::bench
