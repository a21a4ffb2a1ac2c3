// A model on several devices, and several batches at once on one.

#include <gmock/gmock.h>

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/server_fixture.h"

namespace longwave {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::SizeIs;

class DevicesTest : public ServerTest {
 protected:
  // Sends a request of one input on a thread of its own.
  void Send(const std::string& text) {
    callers_.emplace_back(
        [this, text] { EXPECT_EQ(MustEncode(EncodeTexts({text})).results_size(), 1); });
  }
  void AwaitAnswers() {
    for (std::thread& caller : callers_) caller.join();
    callers_.clear();
  }

  std::vector<std::thread> callers_;
};

TEST_F(DevicesTest, EachDeviceHasAReplicaAndTakesFromTheOneQueue) {
  options_.devices = {"cuda:0", "cuda:1", "cuda:2"};
  options_.batching.max_batch_items = 1;
  StartServer();
  ASSERT_THAT(models_, SizeIs(3));
  for (FakeModel* replica : models_) replica->Hold();
  for (int i = 0; i < 3; ++i) Send("text");
  for (FakeModel* replica : models_) EXPECT_THAT(replica->AwaitHeldBatch(), ElementsAre(6));
  // All are busy: what comes now waits for the first that is free.
  Send("next one");
  AwaitMetric("longwave_queue_inputs{model=\"fake\"}", 1);
  model(1).ReleaseBatch();
  EXPECT_THAT(model(1).AwaitHeldBatch(), ElementsAre(10));
  for (FakeModel* replica : models_) replica->Release();
  AwaitAnswers();
  EXPECT_THAT(model(0).batch_sizes(), ElementsAre(1));
  EXPECT_THAT(model(1).batch_sizes(), ElementsAre(1, 1));
  EXPECT_THAT(model(2).batch_sizes(), ElementsAre(1));
  const auto batches = [this](const std::string& device) {
    return Metric(absl::StrCat("longwave_batches_total{device=\"", device,
                               "\",lane=\"short\",model=\"fake\"}"));
  };
  EXPECT_EQ(batches("cuda:0"), 1);
  EXPECT_EQ(batches("cuda:1"), 2);
  EXPECT_EQ(batches("cuda:2"), 1);
}

TEST_F(DevicesTest, ModelsSayWhereTheyAre) {
  options_.devices = {"cuda:0", "cuda:1"};
  repository_.MakeFolder("fake/1");
  repository_.MakeFolder("fake/2");
  StartServer();
  ASSERT_THAT(models_, SizeIs(4));
  EXPECT_EQ(model(2).info().device, "cuda:0");
  ASSERT_THAT(server_->models(), SizeIs(2));
  EXPECT_EQ(server_->models()[1].info.device, "cuda:0,cuda:1");
  EXPECT_EQ(server_->models()[1].model, models_[2]);
  for (const char* version : {"1", "2"}) {
    for (const char* device : {"cuda:0", "cuda:1"}) {
      EXPECT_EQ(Metric(absl::StrCat("longwave_model_info{device=\"", device,
                                    "\",model=\"fake\",version=\"", version, "\"}")),
                1);
    }
  }
}

TEST_F(DevicesTest, ModelsOnADeviceShareItsMemoryAndNoOther) {
  options_.devices = {"cuda:0", "cuda:1"};
  // Free after each load: the second model leaves less.
  const std::vector<int64_t> free = {1000, 3000, 600, 2000};
  repository_.MakeFolder("a/1");
  repository_.MakeFolder("b/1");
  size_t loaded = 0;
  absl::StatusOr<std::unique_ptr<Server>> server = Server::Create(
      options_,
      [&](const std::string&, const std::string& device) {
        ModelInfo info = FakeModel::DefaultInfo();
        info.device = device;
        info.free_memory = free[loaded++];
        return std::make_unique<FakeModel>(std::move(info));
      },
      &Clock::Monotonic());
  ASSERT_TRUE(server.ok()) << server.status();
  server_ = *std::move(server);
  EXPECT_EQ(Metric("longwave_memory_budget_bytes{device=\"cuda:0\"}"), 540);
  EXPECT_EQ(Metric("longwave_memory_budget_bytes{device=\"cuda:1\"}"), 1800);
}

TEST_F(DevicesTest, ADeviceComputesAsManyBatchesAtOnceAsItHasWorkers) {
  options_.workers_per_device = 3;
  StartServer();
  ASSERT_THAT(models_, SizeIs(1));
  model().Hold();
  for (int i = 0; i < 3; ++i) {
    Send("text");
    while (model().AwaitHeldBatch().size() < callers_.size()) std::this_thread::yield();
  }
  EXPECT_THAT(model().batch_sizes(), ElementsAre(1, 1, 1));
  Send("next one");
  AwaitMetric("longwave_queue_inputs{model=\"fake\"}", 1);
  model().Release();
  AwaitAnswers();
  EXPECT_THAT(model().batch_sizes(), AllOf(SizeIs(4), Each(1)));
  EXPECT_EQ(Metric("longwave_batches_total{device=\"cpu\",lane=\"short\",model=\"fake\"}"), 4);
}

TEST_F(DevicesTest, AReplicaThatCannotRunIsFoundBeforeServing) {
  options_.devices = {"cuda:0", "cuda:1"};
  repository_.MakeFolder("fake/1");
  const absl::Status status =
      Server::Create(
          options_,
          [](const std::string&, const std::string& device) {
            auto model = std::make_unique<FakeModel>();
            if (device == "cuda:1") {
              model->set_fault([](const RunItem&) { return absl::InternalError("broken"); });
            }
            return model;
          },
          &Clock::Monotonic())
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("fake version 1: warm-up"));
}

TEST_F(DevicesTest, OptionsAreChecked) {
  options_.devices.clear();
  EXPECT_THAT(std::string(options_.Validate().message()), ::testing::HasSubstr("devices"));
  options_.devices = {"cpu"};
  for (const int workers : {0, -1, 257}) {
    options_.workers_per_device = workers;
    EXPECT_THAT(std::string(options_.Validate().message()),
                ::testing::HasSubstr("workers_per_device"));
  }
}

}  // namespace
}  // namespace longwave
