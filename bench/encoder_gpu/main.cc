// Times the encoder of BERT-base's shape on a GPU: ours, the same with softmax attention, and the
// matrix products alone, in one run. Prints lines of JSON, each as soon as it is measured: first
// what holds for all, then {"row": ...} for a batch or {"steps": ...}; a table goes to stderr. Exit
// code 1 when the answers are wrong.
#include <ATen/Functions.h>
#include <c10/core/InferenceMode.h>

#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "bench/encoder_gpu/bert.h"
#include "bench/encoder_gpu/softmax_encoder.h"
#include "bench/encoder_gpu/steps.h"
#include "bench/encoder_gpu/timing.h"
#include "model/device/find_device.h"
#include "model/device/torch_device.h"

ABSL_FLAG(std::string, device, "cuda:0", "The GPU.");
ABSL_FLAG(std::vector<std::string>, shapes,
          std::vector<std::string>({"1x512", "32x512", "1x4096", "1x16384", "1x65536", "1x131072",
                                    "1x1048576"}),
          "Batches to time, sequences x tokens.");
ABSL_FLAG(std::vector<std::string>, steps, std::vector<std::string>({"1x512", "32x512"}),
          "Batches whose steps are timed one by one, too.");
ABSL_FLAG(int64_t, softmax_up_to, 131072, "Longest sequence that the peer is timed on.");
ABSL_FLAG(int64_t, graph_up_to, 4096, "Largest batch, in tokens, that is timed as a graph, too.");

namespace longwave::bench {
namespace {

using nlohmann::json;

// Served answers in bfloat16 against the CPU's in float32, as a share of the largest value.
constexpr double kTolerance = 3e-2;

struct Shape {
  int64_t sequences = 0;
  int64_t length = 0;

  explicit Shape(const std::string& text) {
    const bool read = std::sscanf(text.c_str(), "%ldx%ld", &sequences, &length) == 2;
    TORCH_CHECK(read && sequences > 0 && length > 0, "shape: found '", text,
                "', expected sequences x tokens, such as 32x512");
  }
};

class Bench {
 public:
  explicit Bench(Device* device)
      : device_(device),
        config_(BertConfig()),
        host_(config_, RandomBertWeights(config_, /*seed=*/1)),
        encoder_(config_,
                 PlaceWeights(host_.weights(), TorchDevice(device->info()), at::kBFloat16)) {
    CheckOk(device_->Synchronize());
    auto stream = device_->CreateStream(StreamPriority::kNormal);
    CheckOk(stream.status());
    stream_ = *std::move(stream);
  }

  // Against the CPU, on sequences of several lengths.
  json Check() {
    const std::vector<int64_t> lengths = {1, 130, 64, 333};
    const at::Tensor ids = RandomIds(config_, lengths);
    const at::Tensor expected = host_.Forward(ids, {lengths, PackOffsets(lengths)});
    at::Tensor found;
    CheckOk(stream_->Run([&] {
      found = encoder_.Forward(Placed(ids), {lengths, Placed(PackOffsets(lengths))})
                  .to(at::kCPU)
                  .to(at::kFloat);
      return absl::OkStatus();
    }));
    const double scale = expected.abs().max().item<double>();
    const double error = at::sub(found, expected).abs().max().item<double>() / scale;
    const double rms = at::sub(found, expected).square().mean().sqrt().item<double>() /
                       expected.square().mean().sqrt().item<double>();
    return {{"max_error", error},
            {"rms_error", rms},
            {"tolerance", kTolerance},
            {"passed", error <= kTolerance}};
  }

  // The time of each step of the layers, summed over the layers.
  json MeasureSteps(const Shape& shape) {
    const int64_t tokens = shape.sequences * shape.length;
    const std::vector<int64_t> lengths(shape.sequences, shape.length);
    const PackedSequences sequences{lengths, Placed(PackOffsets(lengths))};
    json steps;
    for (const auto& [name, step] : LayerSteps(encoder_, sequences, tokens)) {
      // Small steps are launched faster as a graph than the CPU can.
      steps[name] = tokens <= absl::GetFlag(FLAGS_graph_up_to) ? TimeGraph(step) : Time(step);
    }
    return steps;
  }

  json Measure(const Shape& shape) {
    const int64_t tokens = shape.sequences * shape.length;
    const std::vector<int64_t> lengths(shape.sequences, shape.length);
    const at::Tensor ids = Placed(RandomIds(config_, lengths));
    const PackedSequences sequences{lengths, Placed(PackOffsets(lengths))};
    json row = {{"sequences", shape.sequences}, {"length", shape.length}};
    row["plan"] = json::parse(encoder_.PlanAttention(0, {shape.length}))["groups"];
    const auto forward = [&] { encoder_.Forward(ids, sequences); };

    const DeviceMemory before = Memory();
    device_->ResetPeakMemory();
    row["longwave"] = Time(forward);
    row["longwave"]["peak_bytes"] = Memory().peak_used - before.used;

    if (tokens <= absl::GetFlag(FLAGS_graph_up_to)) row["longwave_graph"] = TimeGraph(forward);
    if (shape.length <= absl::GetFlag(FLAGS_softmax_up_to)) {
      for (const auto& [name, kernel] : {std::pair{"softmax_cudnn", SoftmaxKernel::kCudnn},
                                         std::pair{"softmax_flash", SoftmaxKernel::kFlash}}) {
        try {
          const auto peer = [&, k = kernel] { SoftmaxForward(encoder_, ids, shape.sequences, k); };
          row[name] = Time(peer);
          if (tokens <= absl::GetFlag(FLAGS_graph_up_to)) {
            row[std::string(name) + "_graph"] = TimeGraph(peer);
          }
        } catch (const c10::Error& error) {
          row[name] = {{"error", error.what_without_backtrace()}};
        }
      }
    }
    const at::Tensor x =
        at::randn({tokens, config_.hidden_size},
                  at::TensorOptions(TorchDevice(device_->info())).dtype(at::kBFloat16));
    row["products_only"] = Time([&] { ProductsOnly(encoder_, x); });
    if (tokens <= absl::GetFlag(FLAGS_graph_up_to)) {
      row["products_only_graph"] = TimeGraph([&] { ProductsOnly(encoder_, x); });
    }
    return row;
  }

 private:
  at::Tensor Placed(const at::Tensor& tensor) const {
    return tensor.to(TorchDevice(device_->info()));
  }

  DeviceMemory Memory() const {
    const auto memory = device_->Memory();
    CheckOk(memory.status());
    return *memory;
  }

  json Time(const std::function<void()>& work) {
    return bench::Time(*stream_, device_->info(), TimingOptions(), work);
  }

  json TimeGraph(const std::function<void()>& work) {
    const auto launch = [&] {
      work();
      return absl::OkStatus();
    };
    CheckOk(stream_->Run(launch));
    const auto graph = stream_->Capture(launch);
    if (!graph.ok()) return {{"error", std::string(graph.status().message())}};
    return Time([&] { CheckOk((*graph)->Replay()); });
  }

  Device* const device_;
  const ModelConfig config_;
  const Encoder host_;
  const Encoder encoder_;
  std::unique_ptr<Stream> stream_;
};

void PrintRow(const json& row) {
  std::fprintf(stderr, "%5ld x %-8ld", row["sequences"].get<long>(), row["length"].get<long>());
  for (const char* name : {"longwave", "longwave_graph", "softmax_cudnn", "softmax_cudnn_graph",
                           "softmax_flash", "products_only", "products_only_graph"}) {
    if (row.contains(name) && row[name].contains("median_ms")) {
      std::fprintf(stderr, "  %s %.3f ms", name, row[name]["median_ms"].get<double>());
    } else if (row.contains(name)) {
      std::fprintf(stderr, "  %s: %.200s", name, row[name].dump().c_str());
    }
  }
  std::fprintf(stderr, "  peak %.2f GB  [%s]\n", row["longwave"]["peak_bytes"].get<double>() / 1e9,
               row["plan"][0]["algorithm"].get<std::string>().c_str());
}

int Main() {
  const c10::InferenceMode inference;
  const absl::StatusOr<Device*> device = FindDevice(absl::GetFlag(FLAGS_device));
  if (!device.ok()) {
    std::cerr << device.status() << "\n";
    return 1;
  }
  Bench bench(*device);
  json result = {{"benchmark", "encoder_gpu"},
                 {"device", (*device)->info().description},
                 {"shape", "BERT-base: 12 layers, 768, 12 heads, 3072, bfloat16, 64 features"}};
  result["check"] = bench.Check();
  std::cout << result.dump() << std::endl;
  std::cerr << "check: " << result["check"] << "\n";
  for (const std::string& text : absl::GetFlag(FLAGS_shapes)) {
    const json row = bench.Measure(Shape(text));
    std::cout << json{{"row", row}}.dump() << std::endl;
    PrintRow(row);
  }
  for (const std::string& text : absl::GetFlag(FLAGS_steps)) {
    const json steps = bench.MeasureSteps(Shape(text));
    std::cout << json{{"steps", {{text, steps}}}}.dump() << std::endl;
    std::cerr << "steps of all layers, " << text << ":";
    for (const auto& [name, time] : steps.items()) {
      std::fprintf(stderr, "  %s %.3f", name.c_str(), time.value("median_ms", -1.0));
    }
    std::cerr << " ms\n";
  }
  return result["check"]["passed"] ? 0 : 1;
}

}  // namespace
}  // namespace longwave::bench

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  try {
    return longwave::bench::Main();
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
}
