#include "model/device/device.h"

#include <ATen/Functions.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/device/find_device.h"
#include "model/device/torch_device.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(DeviceNameTest, KnowsDevices) {
  for (const char* name : {"auto", "cpu", "cuda:0", "cuda:12"}) {
    EXPECT_TRUE(ValidateDeviceName(name).ok()) << name;
  }
  for (const char* name : {"", "gpu", "CPU", "cuda", "cuda:", "cuda:-1", "cuda:01", "cuda:+1",
                           "cuda:1x", "cuda:99999", "cpu:0"}) {
    const absl::Status status = ValidateDeviceName(name);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), HasSubstr("'auto', 'cpu' or 'cuda:N'"));
    EXPECT_EQ(FindDevice(name).status().code(), absl::StatusCode::kInvalidArgument) << name;
  }
}

TEST(DeviceNameTest, EveryDeviceIsOneObject) {
  const absl::StatusOr<Device*> cpu = FindDevice("cpu");
  ASSERT_TRUE(cpu.ok()) << cpu.status();
  EXPECT_EQ(*cpu, *FindDevice("cpu"));
  EXPECT_EQ((*cpu)->info().name, "cpu");
  EXPECT_FALSE((*cpu)->info().is_cuda);
}

TEST(DeviceNameTest, SaysWhichGpuIsMissing) {
  const absl::StatusOr<Device*> gpu = FindDevice("cuda:1000");
  EXPECT_EQ(gpu.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(gpu.status().message()), HasSubstr("device cuda:1000: "));
}

TEST(DeviceNameTest, AutoTakesTheGpuOrSaysWhyNot) {
  std::string why;
  const absl::StatusOr<Device*> chosen = FindDevice("auto", &why);
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  const absl::StatusOr<Device*> gpu = FindDevice("cuda:0");
  if (gpu.ok()) {
    EXPECT_EQ(*chosen, *gpu);
    EXPECT_EQ(why, "");
  } else {
    EXPECT_EQ((*chosen)->info().name, "cpu");
    EXPECT_EQ(why, gpu.status().message());
  }
}

TEST(DeviceListTest, HasDevicesOfOneKindOnceEach) {
  for (const char* list : {"auto", "cpu", "cuda:0", "cuda:1,cuda:0", "cuda:0,cuda:1,cuda:2"}) {
    EXPECT_TRUE(ValidateDeviceList(list).ok()) << list;
  }
  for (const auto& [list, found] : std::vector<std::pair<const char*, const char*>>{
           {"", "found ''"},
           {"cuda:0,", "found ''"},
           {"cuda:0, cuda:1", "found ' cuda:1'"},
           {"cuda:0,cuda:1,cuda:0", "found 'cuda:0' twice"},
           {"cpu,cpu", "found 'cpu' twice"},
           {"cpu,cuda:0", "only GPUs"},
           {"auto,cuda:0", "only GPUs"}}) {
    const absl::Status status = ValidateDeviceList(list);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << list;
    EXPECT_THAT(std::string(status.message()), HasSubstr(found));
    EXPECT_EQ(FindDevices(list).status(), status);
  }
}

TEST(DeviceListTest, AutoIsEveryGpuOrElseTheCpu) {
  std::string why;
  const absl::StatusOr<std::vector<std::string>> chosen = FindDevices("auto", &why);
  ASSERT_TRUE(chosen.ok()) << chosen.status();
  std::vector<std::string> gpus;
  while (FindDevice(absl::StrCat("cuda:", gpus.size())).ok()) {
    gpus.push_back(absl::StrCat("cuda:", gpus.size()));
  }
  if (gpus.empty()) {
    EXPECT_THAT(*chosen, ElementsAre("cpu"));
    EXPECT_EQ(why, FindDevice("cuda:0").status().message());
  } else {
    EXPECT_EQ(*chosen, gpus);
    EXPECT_EQ(why, "");
  }
}

TEST(DeviceListTest, AGpuThatCannotBeUsedIsPassedOver) {
  const auto open = [](int index) {
    return index % 2 == 1 ? absl::OkStatus()
                          : absl::UnavailableError(absl::StrCat("cuda:", index, " is broken"));
  };
  std::vector<std::string> why_not;
  EXPECT_THAT(FindUsableGpus(5, 5, open, why_not), ElementsAre(1, 3));
  EXPECT_THAT(why_not, ElementsAre("cuda:0 is broken", "cuda:2 is broken", "cuda:4 is broken"));
  why_not.clear();
  EXPECT_THAT(FindUsableGpus(5, 1, open, why_not), ElementsAre(1));
  EXPECT_THAT(why_not, ElementsAre("cuda:0 is broken"));
  why_not.clear();
  EXPECT_THAT(FindUsableGpus(1, 5, open, why_not), ElementsAre());
  EXPECT_THAT(why_not, ElementsAre("cuda:0 is broken"));
}

TEST(DeviceListTest, NamesTheGpuThatIsMissing) {
  EXPECT_THAT(*FindDevices("cpu"), ElementsAre("cpu"));
  const absl::Status status = FindDevices("cuda:1000,cuda:1001").status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("device cuda:1000: "));
}

TEST(DeviceMemoryTest, CountsWhatIsCached) {
  DeviceMemory memory;
  memory.total = 100;
  memory.limit = 80;
  memory.free = 30;
  memory.reserved = 60;
  memory.used = 20;
  EXPECT_EQ(memory.available(), 60);  // the limit is nearer than 30 free and 40 cached
  memory.limit = 100;
  EXPECT_EQ(memory.available(), 70);
  memory.limit = 10;
  EXPECT_EQ(memory.available(), 0);
}

// What every device promises, on each that this machine has.
class DeviceTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const absl::StatusOr<Device*> device = FindDevice(GetParam());
    if (!device.ok()) GTEST_SKIP() << device.status().message();
    device_ = *device;
    absl::StatusOr<std::unique_ptr<Stream>> stream = device_->CreateStream(StreamPriority::kNormal);
    ASSERT_TRUE(stream.ok()) << stream.status();
    stream_ = *std::move(stream);
  }

  at::Tensor Empty(int64_t count) const {
    return at::empty({count}, at::TensorOptions(at::kFloat).device(TorchDevice(device_->info())));
  }

  Device* device_ = nullptr;
  std::unique_ptr<Stream> stream_;
};

TEST_P(DeviceTest, RunsOnAStreamAndWaitsByEvent) {
  at::Tensor x;
  ASSERT_TRUE(stream_
                  ->Run([&] {
                    x = Empty(1 << 20).fill_(2);
                    for (int i = 0; i < 10; ++i) x.mul_(2);
                    return absl::OkStatus();
                  })
                  .ok());
  const auto event = stream_->Record();
  ASSERT_TRUE(event.ok()) << event.status();
  EXPECT_TRUE((*event)->Wait().ok());
  EXPECT_TRUE((*event)->Done());
  EXPECT_EQ(x.min().item<float>(), 2048);
  EXPECT_TRUE(stream_->Synchronize().ok());
  EXPECT_TRUE(device_->Synchronize().ok());
}

TEST_P(DeviceTest, StatusesAndExceptionsComeBack) {
  EXPECT_EQ(stream_->Run([] { return absl::CancelledError("no"); }).code(),
            absl::StatusCode::kCancelled);
  const absl::Status thrown =
      stream_->Run([]() -> absl::Status { throw std::runtime_error("broken"); });
  EXPECT_EQ(thrown, absl::InternalError("broken"));
}

TEST_P(DeviceTest, WantOfMemoryIsNamedAndLeavesNothingBehind) {
  const auto before = device_->Memory();
  ASSERT_TRUE(before.ok()) << before.status();
  const absl::Status status = stream_->Run([&] {
    Empty(int64_t{1} << 46);
    return absl::OkStatus();
  });
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_EQ(device_->Memory()->used, before->used);
}

TEST_P(DeviceTest, AGraphDoesItsWorkAgain) {
  at::Tensor in, out;
  const auto launch = [&] {
    out = in.mul(3).add_(1);
    return absl::OkStatus();
  };
  ASSERT_TRUE(stream_
                  ->Run([&] {
                    in = Empty(1000).fill_(1);
                    return launch();
                  })
                  .ok());
  const auto graph = stream_->Capture(launch);
  ASSERT_TRUE(graph.ok()) << graph.status();
  for (const float value : {5.0f, 7.0f}) {
    ASSERT_TRUE(stream_
                    ->Run([&] {
                      in.fill_(value);
                      return absl::OkStatus();
                    })
                    .ok());
    ASSERT_TRUE((*graph)->Replay().ok());
    ASSERT_TRUE(stream_->Synchronize().ok());
    EXPECT_EQ(out.min().item<float>(), 3 * value + 1);
    EXPECT_EQ(out.max().item<float>(), 3 * value + 1);
  }
}

TEST_P(DeviceTest, GraphsComeAndGo) {
  at::Tensor x;
  const auto add = [&] {
    x.add_(at::full_like(x, 1));
    return absl::OkStatus();
  };
  ASSERT_TRUE(stream_
                  ->Run([&] {
                    x = Empty(1000).fill_(0);
                    return add();
                  })
                  .ok());
  for (int i = 0; i < 3; ++i) {
    const auto graph = stream_->Capture(add);
    ASSERT_TRUE(graph.ok()) << graph.status();
    ASSERT_TRUE((*graph)->Replay().ok());
    ASSERT_TRUE(stream_->Synchronize().ok());
  }
  EXPECT_EQ(x.max().item<float>(), 4);
}

TEST_P(DeviceTest, PinnedMemoryTravelsBothWays) {
  constexpr int64_t kCount = 1 << 18;
  const auto up = device_->AllocatePinned(kCount * sizeof(float));
  const auto down = device_->AllocatePinned(kCount * sizeof(float));
  ASSERT_TRUE(up.ok() && down.ok());
  EXPECT_EQ((*up)->size(), kCount * static_cast<int64_t>(sizeof(float)));
  auto* source = static_cast<float*>((*up)->data());
  auto* target = static_cast<float*>((*down)->data());
  for (int64_t i = 0; i < kCount; ++i) source[i] = static_cast<float>(i);
  std::memset(target, 0, kCount * sizeof(float));
  ASSERT_TRUE(stream_
                  ->Run([&] {
                    at::Tensor x = Empty(kCount);
                    x.copy_(at::from_blob(source, {kCount}, at::kFloat), /*non_blocking=*/true);
                    x.add_(1);
                    at::from_blob(target, {kCount}, at::kFloat).copy_(x, /*non_blocking=*/true);
                    return absl::OkStatus();
                  })
                  .ok());
  ASSERT_TRUE(stream_->Synchronize().ok());
  EXPECT_EQ(target[0], 1);
  EXPECT_EQ(target[kCount - 1], kCount);
}

TEST_P(DeviceTest, KnowsItsMemory) {
  const auto memory = device_->Memory();
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_GT(memory->total, 0);
  EXPECT_GT(memory->free, 0);
  EXPECT_LE(memory->free, memory->total);
  EXPECT_LE(memory->used, memory->reserved);
  EXPECT_GT(memory->available(), 0);
  EXPECT_TRUE(device_->ReleaseCachedMemory().ok());
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceTest, ::testing::Values("cpu", "cuda:0"),
                         [](const auto& info) { return std::string(info.param).substr(0, 4); });

// What only a GPU has.
class GpuTest : public DeviceTest {};

TEST_P(GpuTest, KeepsToItsMemoryLimit) {
  const auto memory = device_->Memory();
  ASSERT_TRUE(memory.ok()) << memory.status();
  constexpr int64_t kMegabyte = 1 << 20;
  EXPECT_EQ(device_->SetMemoryLimit(0).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(device_->SetMemoryLimit(memory->total + 1).code(), absl::StatusCode::kInvalidArgument);
  ASSERT_TRUE(device_->SetMemoryLimit(memory->reserved + 256 * kMegabyte).ok());
  EXPECT_EQ(device_->Memory()->limit, memory->reserved + 256 * kMegabyte);
  const auto allocate = [&](int64_t bytes) {
    return stream_->Run([&] {
      Empty(bytes / 4).fill_(1);
      return absl::OkStatus();
    });
  };
  EXPECT_TRUE(allocate(128 * kMegabyte).ok());
  EXPECT_EQ(allocate(1024 * kMegabyte).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(allocate(128 * kMegabyte).ok());  // life goes on
  ASSERT_TRUE(device_->SetMemoryLimit(memory->total).ok());
  EXPECT_TRUE(allocate(1024 * kMegabyte).ok());
}

TEST_P(GpuTest, EveryStreamHasOneOwner) {
  const at::Device gpu = TorchDevice(device_->info());
  const c10::impl::VirtualGuardImpl current(gpu.type());
  for (const StreamPriority priority :
       {StreamPriority::kLow, StreamPriority::kNormal, StreamPriority::kHigh}) {
    constexpr int kStreams = 80;  // more than LibTorch has of a priority
    std::set<c10::StreamId> first;
    for (int round = 0; round < 2; ++round) {
      std::vector<std::unique_ptr<Stream>> streams;
      std::set<c10::StreamId> ids;
      for (int i = 0; i < kStreams; ++i) {
        absl::StatusOr<std::unique_ptr<Stream>> stream = device_->CreateStream(priority);
        ASSERT_TRUE(stream.ok()) << stream.status();
        ASSERT_TRUE((*stream)
                        ->Run([&] {
                          EXPECT_TRUE(ids.insert(current.getStream(gpu).id()).second) << i;
                          EXPECT_EQ(Empty(100).fill_(i).sum().item<float>(), 100 * i);
                          return absl::OkStatus();
                        })
                        .ok());
        streams.push_back(*std::move(stream));
      }
      if (round == 0) first = ids;
      EXPECT_EQ(ids, first);  // those that were given back, not ever more
    }
  }
}

TEST_P(GpuTest, AStreamThatIsGoneMayHaveUsedMemoryThatIsNot) {
  constexpr int64_t kCount = 1 << 18;
  auto pinned = device_->AllocatePinned(kCount * sizeof(float));
  ASSERT_TRUE(pinned.ok()) << pinned.status();
  at::Tensor x;
  {
    const auto other = device_->CreateStream(StreamPriority::kHigh);
    ASSERT_TRUE(other.ok()) << other.status();
    ASSERT_TRUE((*other)
                    ->Run([&] {
                      x = Empty(kCount).fill_(3);
                      at::from_blob((*pinned)->data(), {kCount}, at::kFloat)
                          .copy_(x, /*non_blocking=*/true);
                      return absl::OkStatus();
                    })
                    .ok());
    ASSERT_TRUE((*other)->Synchronize().ok());
  }
  EXPECT_EQ(static_cast<const float*>((*pinned)->data())[kCount - 1], 3);
  EXPECT_EQ(x.min().item<float>(), 3);
  pinned->reset();  // records an event in the stream that copied
  x.reset();
  const auto again = device_->AllocatePinned(kCount * sizeof(float));
  EXPECT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(device_->Synchronize().ok());
}

TEST_P(GpuTest, AFailedCaptureLeavesTheStreamUsable) {
  at::Tensor x;
  ASSERT_TRUE(stream_
                  ->Run([&] {
                    x = Empty(1000).fill_(1);
                    return absl::OkStatus();
                  })
                  .ok());
  const auto waits = stream_->Capture([&] {
    x.add_(1).sum().item<float>();  // must not wait in a capture
    return absl::OkStatus();
  });
  EXPECT_FALSE(waits.ok());
  const auto refuses = stream_->Capture([&] {
    x.add_(1);
    return absl::CancelledError("not now");
  });
  EXPECT_FALSE(refuses.ok());
  const auto graph = stream_->Capture([&] {
    x.add_(0);
    return absl::OkStatus();
  });
  ASSERT_TRUE(graph.ok()) << graph.status();
  ASSERT_TRUE((*graph)->Replay().ok());
  ASSERT_TRUE(stream_
                  ->Run([&] {
                    x.add_(1);
                    return absl::OkStatus();
                  })
                  .ok());
  ASSERT_TRUE(stream_->Synchronize().ok());
  EXPECT_EQ(x.max().item<float>(), 2);
}

TEST_P(GpuTest, ACaptureThatCannotEndLeavesNothingBehind) {
  constexpr int64_t kLarge = int64_t{1} << 24;
  at::Tensor x;
  const auto use = [&] {
    return stream_->Run([&] {
      x = Empty(kLarge).fill_(1);
      return absl::OkStatus();
    });
  };
  ASSERT_TRUE(use().ok());
  ASSERT_TRUE(stream_->Synchronize().ok());
  ASSERT_TRUE(device_->ReleaseCachedMemory().ok());
  const auto before = device_->Memory();
  ASSERT_TRUE(before.ok()) << before.status();
  for (int i = 0; i < 2; ++i) {
    bool refused = false;
    const auto graph = stream_->Capture([&] {
      const at::Tensor more = Empty(kLarge).fill_(1);
      try {
        more.sum().item<float>();  // ends the capture; nobody is told
      } catch (const std::exception&) {
        refused = true;
      }
      return absl::OkStatus();
    });
    EXPECT_TRUE(refused);
    EXPECT_EQ(graph.status().code(), absl::StatusCode::kInternal) << graph.status();
    ASSERT_TRUE(device_->ReleaseCachedMemory().ok());
    EXPECT_EQ(device_->Memory()->reserved, before->reserved);
    EXPECT_EQ(device_->Memory()->used, before->used);
    ASSERT_TRUE(use().ok());
  }
  const auto graph = stream_->Capture([&] {
    x.add_(at::full_like(x, 1));
    return absl::OkStatus();
  });
  ASSERT_TRUE(graph.ok()) << graph.status();
  ASSERT_TRUE((*graph)->Replay().ok());
  ASSERT_TRUE(stream_->Synchronize().ok());
  EXPECT_EQ(x.max().item<float>(), 2);
}

INSTANTIATE_TEST_SUITE_P(Devices, GpuTest, ::testing::Values("cuda:0"),
                         [](const auto& info) { return std::string(info.param).substr(0, 4); });

}  // namespace
}  // namespace longwave
