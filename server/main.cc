// longwave-server: flags, signals, exit codes; the rest is Server.
//
// Exit codes: 0 after SIGTERM or SIGINT with every request answered, and after --help; 1 when it
// cannot start, or for a flag that does not parse; 2 for a flag with a value out of its range, or
// an argument that is no flag; 3 when requests were dropped, because the drain's time was over or a
// second signal came.

#include <pthread.h>
#include <signal.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "model/device/find_device.h"
#include "model/runtime/model.h"
#include "server/banner.h"
#include "server/byte_size.h"
#include "server/flag_help.h"
#include "server/port_file.h"
#include "server/server.h"
#include "server/version.h"

ABSL_FLAG(std::string, model_repository, "model/pretrained",
          "Folder of models, <name>/<version>/config.json each.");
ABSL_FLAG(std::string, listen, "0.0.0.0:8470",
          "Where gRPC listens, host:port. Port 0 picks a free one.");
ABSL_FLAG(std::string, metrics_listen, "0.0.0.0:9470",
          "Where Prometheus scrapes /metrics, host:port. Port 0 picks a free one; empty: nowhere.");
ABSL_FLAG(
    std::string, device, "auto",
    "Where models run: cpu; cuda:N, or several with commas in between, each of which gets a copy "
    "of every model; or auto, all GPUs that can be used or else the CPU.");
ABSL_FLAG(std::string, dtype, "auto",
          "Of activations and weights: float32, bfloat16, float16, or auto, which is bfloat16 on a "
          "GPU and float32 on the CPU.");
ABSL_FLAG(
    longwave::ByteSize, device_memory, longwave::ByteSize{0},
    "Memory that the server may take of each GPU, in bytes or with a unit: 40GiB. 0: all of it.");
ABSL_FLAG(int, workers, longwave::Server::Options().workers_per_device,
          "Batches of one model version that each device computes at once.");
ABSL_FLAG(int, threads, 0,
          "Threads of one forward pass. 0: one per core, shared by the --workers.");
ABSL_FLAG(int64_t, max_batch_tokens, longwave::Batcher::Options().max_batch_tokens,
          "Tokens of one batch. A longer input runs alone.");
ABSL_FLAG(int64_t, max_batch_inputs, longwave::Batcher::Options().max_batch_items,
          "Inputs of one batch.");
ABSL_FLAG(int64_t, max_queue_tokens, longwave::Batcher::Options().max_queue_tokens,
          "Tokens that may wait per model version; beyond, requests are RESOURCE_EXHAUSTED.");
ABSL_FLAG(int64_t, max_queue_inputs, longwave::Batcher::Options().max_queue_items,
          "Inputs that may wait per model version; beyond, requests are RESOURCE_EXHAUSTED.");
ABSL_FLAG(longwave::ByteSize, max_queue_bytes,
          longwave::ByteSize{longwave::Batcher::Options().max_queue_bytes},
          "Size of the token ids that may wait per model version, in bytes or with a unit: 64MiB; "
          "beyond, requests are RESOURCE_EXHAUSTED.");
ABSL_FLAG(
    absl::Duration, max_batch_time, longwave::Batcher::Options().max_batch_time,
    "Predicted time of one batch, such as 50ms or inf. An input that takes longer runs alone.");
ABSL_FLAG(int64_t, long_input_tokens, longwave::Batcher::Options().long_item_tokens,
          "Inputs of more tokens use the long lane, which leaves the device to shorter ones in "
          "between.");
ABSL_FLAG(absl::Duration, long_input_time, longwave::Batcher::Options().long_item_time,
          "Inputs of more predicted time use the long lane, too, such as 100ms or inf.");
ABSL_FLAG(
    double, long_lane_share, longwave::Batcher::Options().long_lane_share,
    "Part of the device's time that the long lane has while both lanes have work, above 0 and "
    "below 1.");
ABSL_FLAG(double, deadline_margin, longwave::Batcher::Options().deadline_margin,
          "Requests are refused when their predicted time times this does not fit before their "
          "deadline. 0: they are let in and may expire; else at least 1.");
ABSL_FLAG(longwave::ByteSize, memory_budget, longwave::ByteSize{0},
          "Memory of each device that the batches of all models may take, in bytes or with a unit: "
          "4GiB. 0: 90% of what is free once the models are loaded.");
ABSL_FLAG(
    std::string, clients_file, "",
    "JSON file that gives clients, by API key or address, weights by which they share a device. "
    "Empty: all are equal.");
ABSL_FLAG(
    bool, batch_invariant, false,
    "Compute every input in the same steps whoever shares its batch, so that answers are equal "
    "to the bit. Costs throughput where inputs are short.");
ABSL_FLAG(
    int64_t, max_input_tokens, longwave::RequestLimits().max_input_tokens,
    "Tokens of one input, for every model; beyond, inputs are OUT_OF_RANGE. 0: as many as the "
    "model takes.");
ABSL_FLAG(int64_t, max_inputs, longwave::RequestLimits().max_inputs, "Inputs of one request.");
ABSL_FLAG(longwave::ByteSize, max_message_bytes,
          longwave::ByteSize{longwave::Server::Options().max_message_bytes},
          "Size of one request message, in bytes or with a unit: 64MiB.");
ABSL_FLAG(longwave::ByteSize, max_in_flight_bytes,
          longwave::ByteSize{longwave::Server::Options().max_in_flight_bytes},
          "Size of all request messages that are being served, in bytes or with a unit: 64MiB; "
          "beyond, requests are RESOURCE_EXHAUSTED.");
ABSL_FLAG(longwave::ByteSize, max_response_bytes,
          longwave::ByteSize{longwave::RequestLimits().max_response_bytes},
          "Size of one unary response, and of the results that one stream holds at a time, in "
          "bytes or with a unit: 64MiB.");
ABSL_FLAG(
    longwave::ByteSize, result_cache_bytes,
    longwave::ByteSize{longwave::Server::Options().result_cache_bytes},
    "Size of the results that are kept to answer equal inputs, in bytes or with a unit: 64MiB. "
    "0: every input is computed.");
ABSL_FLAG(
    absl::Duration, warm_up_time, longwave::Server::Options().warm_up_time,
    "How long the warm-up of each model version may take, such as 5s. The server is ready after "
    "it. 0: one short pass only.");
ABSL_FLAG(absl::Duration, drain_timeout, absl::Seconds(30),
          "How long requests may still take after SIGTERM, such as 30s or 2m.");
ABSL_FLAG(std::string, port_file, "",
          "File that gets {\"grpc\": <port>, \"metrics\": <port>} once the server is ready. "
          "Empty: none.");

namespace longwave {
namespace {

constexpr int kExitCannotStart = 1;
constexpr int kExitBadFlag = 2;
constexpr int kExitDropped = 3;

Server::Options OptionsFromFlags() {
  Server::Options options;
  options.model_repository = absl::GetFlag(FLAGS_model_repository);
  options.listen = absl::GetFlag(FLAGS_listen);
  options.metrics_listen = absl::GetFlag(FLAGS_metrics_listen);
  options.max_message_bytes = absl::GetFlag(FLAGS_max_message_bytes).bytes;
  options.max_in_flight_bytes = absl::GetFlag(FLAGS_max_in_flight_bytes).bytes;
  options.workers_per_device = absl::GetFlag(FLAGS_workers);
  options.limits.max_input_tokens = absl::GetFlag(FLAGS_max_input_tokens);
  options.limits.max_inputs = absl::GetFlag(FLAGS_max_inputs);
  options.limits.max_response_bytes = absl::GetFlag(FLAGS_max_response_bytes).bytes;
  options.result_cache_bytes = absl::GetFlag(FLAGS_result_cache_bytes).bytes;
  options.warm_up_time = absl::GetFlag(FLAGS_warm_up_time);
  options.batching.max_batch_tokens = absl::GetFlag(FLAGS_max_batch_tokens);
  options.batching.max_batch_items = absl::GetFlag(FLAGS_max_batch_inputs);
  options.batching.max_queue_tokens = absl::GetFlag(FLAGS_max_queue_tokens);
  options.batching.max_queue_items = absl::GetFlag(FLAGS_max_queue_inputs);
  options.batching.max_queue_bytes = absl::GetFlag(FLAGS_max_queue_bytes).bytes;
  options.batching.max_batch_time = absl::GetFlag(FLAGS_max_batch_time);
  options.batching.long_item_tokens = absl::GetFlag(FLAGS_long_input_tokens);
  options.batching.long_item_time = absl::GetFlag(FLAGS_long_input_time);
  options.batching.long_lane_share = absl::GetFlag(FLAGS_long_lane_share);
  options.batching.deadline_margin = absl::GetFlag(FLAGS_deadline_margin);
  options.memory_budget = absl::GetFlag(FLAGS_memory_budget).bytes;
  return options;
}

// Waits for SIGTERM and SIGINT on a thread of its own, which every other thread leaves them to.
// Must be made before any other thread. The first signal ends the process at once before
// BeginServing(), afterwards it is for Wait(); the second always ends it.
class SignalWaiter {
 public:
  SignalWaiter() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
    std::thread([this] { Loop(); }).detach();  // ends with the process
  }

  // To be called before the first request can come in.
  void BeginServing() { serving_ = true; }

  // Blocks until the first signal.
  void Wait() { stop_.WaitForNotification(); }

 private:
  void Loop() {
    int signal = 0;
    sigwait(&signals_, &signal);
    spdlog::info("{}: stopping", signal == SIGINT ? "SIGINT" : "SIGTERM");
    stop_.Notify();
    if (!serving_) std::_Exit(EXIT_SUCCESS);
    sigwait(&signals_, &signal);
    spdlog::error("second signal: stopped without waiting for requests");
    std::_Exit(kExitDropped);
  }

  sigset_t signals_;
  std::atomic<bool> serving_{false};
  absl::Notification stop_;
};

// Ends the process without destructors: a batch may still be computing, for a request that was
// cancelled or dropped, and nobody waits for it.
[[noreturn]] void ExitAtOnce(int code) {
  spdlog::default_logger()->flush();
  std::_Exit(code);
}

// Of one pass, so that all the workers of a device together have a thread per core.
int ThreadsOfPass(int workers) {
  const int threads = absl::GetFlag(FLAGS_threads);
  if (threads != 0 || workers <= 1) return threads;
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / workers);
}

// Loads the models of `options`, and says in the log where each runs, and why not elsewhere.
absl::StatusOr<std::unique_ptr<Server>> CreateServer(Server::Options options,
                                                     Model::Options model_options) {
  std::string why_cpu;
  std::vector<std::string> passed_over;
  absl::StatusOr<std::vector<std::string>> devices =
      FindDevices(absl::GetFlag(FLAGS_device), &why_cpu, &passed_over);
  if (!devices.ok()) return devices.status();
  for (const std::string& why : passed_over) spdlog::warn("a GPU is not used: {}", why);
  options.devices = *std::move(devices);
  const auto load = [&](const std::string& folder, const std::string& device) {
    model_options.device = device;
    absl::StatusOr<std::unique_ptr<Model>> model = Model::Load(folder, model_options);
    if (model.ok()) {
      const ModelInfo& info = (*model)->info();
      spdlog::info("{}: {} parameters on {} in {}{}{}", folder, info.parameters, info.device,
                   info.dtype, why_cpu.empty() ? "" : "; no GPU is used: ", why_cpu);
    }
    return model;
  };
  return Server::Create(options, load, &Clock::Monotonic());
}

int Main() {
  static SignalWaiter signals;
  Server::Options options = OptionsFromFlags();
  Model::Options model_options;
  model_options.dtype = absl::GetFlag(FLAGS_dtype);
  model_options.device_memory_limit = absl::GetFlag(FLAGS_device_memory).bytes;
  model_options.threads = ThreadsOfPass(options.workers_per_device);
  model_options.batch_invariant = absl::GetFlag(FLAGS_batch_invariant);
  absl::Status valid = options.Validate();
  valid.Update(model_options.Validate());
  valid.Update(ValidateDeviceList(absl::GetFlag(FLAGS_device)));
  if (!valid.ok()) {
    spdlog::error("bad flag: {}", std::string(valid.message()));
    return kExitBadFlag;
  }

  if (const std::string path = absl::GetFlag(FLAGS_clients_file); !path.empty()) {
    absl::StatusOr<ClientWeights> weights = ClientWeights::Load(path);
    if (!weights.ok()) {
      spdlog::error("bad flag: clients_file: {}", std::string(weights.status().message()));
      return kExitBadFlag;
    }
    options.weights = *std::move(weights);
    spdlog::info("{} gives {} clients a weight", path, options.weights.size());
  }

  const std::string port_file = absl::GetFlag(FLAGS_port_file);
  if (!port_file.empty()) {
    if (absl::Status removed = RemovePortFile(port_file); !removed.ok()) {
      spdlog::error("cannot start: {}", std::string(removed.message()));
      return kExitCannotStart;
    }
  }
  const absl::Time start = Clock::Monotonic().Now();
  spdlog::info("loading models from {}", options.model_repository);
  absl::StatusOr<std::unique_ptr<Server>> server = CreateServer(options, model_options);
  absl::Status status = server.status();
  if (status.ok()) {
    signals.BeginServing();
    status = (*server)->Start();
  }
  if (status.ok() && !port_file.empty()) {
    status = WritePortFile(port_file, (*server)->grpc_port(), (*server)->metrics_port());
  }
  if (!status.ok()) {
    spdlog::error("cannot start: {}", std::string(status.message()));
    return kExitCannotStart;
  }
  std::cout << Banner(**server, options) << std::endl;
  spdlog::info("ready after {}", absl::FormatDuration(Clock::Monotonic().Now() - start));

  signals.Wait();
  if (!port_file.empty()) {
    if (absl::Status removed = RemovePortFile(port_file); !removed.ok()) {
      spdlog::warn("{}", std::string(removed.message()));
    }
  }
  status = (*server)->Shutdown(absl::GetFlag(FLAGS_drain_timeout));
  if (!status.ok()) {
    spdlog::error("stopped: {}", std::string(status.message()));
    ExitAtOnce(kExitDropped);
  }
  spdlog::info("stopped: every request was answered");
  ExitAtOnce(EXIT_SUCCESS);
}

}  // namespace
}  // namespace longwave

int main(int argc, char** argv) {
  constexpr char kThisFile[] = "server/main.cc";
  constexpr char kUsage[] =
      "Serves transformer encoders over gRPC, with metrics for Prometheus.\n\n"
      "  longwave-server --model_repository=model/pretrained\n"
      "  longwave-server --model_repository=models --device=cuda:0,cuda:1 --memory_budget=40GiB\n"
      "  longwave-server --flagfile=server.flags    one flag a line\n\n"
      "Exit codes: 0 after a signal with every request answered; 1 when it cannot start; 2 for a "
      "flag\n"
      "out of its range; 3 when requests were dropped. Flags, with their defaults:\n";
  if (longwave::AsksForHelp(argc, argv)) {  // Abseil's own help is a failure: exit code 1
    std::cout << kUsage << "\n" << longwave::FlagHelp(kThisFile);
    return EXIT_SUCCESS;
  }
  absl::SetProgramUsageMessage(kUsage);
  absl::FlagsUsageConfig usage;
  usage.version_string = [] { return absl::StrCat("longwave-server ", longwave::kVersion, "\n"); };
  absl::SetFlagsUsageConfig(usage);
  const std::vector<char*> arguments = absl::ParseCommandLine(argc, argv);
  spdlog::set_default_logger(spdlog::stderr_color_mt("longwave"));
  spdlog::set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%l%$ %v");
  if (arguments.size() > 1) {
    spdlog::error("no flag: {}; expected --name=value",
                  absl::StrJoin(arguments.begin() + 1, arguments.end(), " "));
    return longwave::kExitBadFlag;
  }
  // Debian builds Abseil so that each lock, gRPC's too, enters a global graph to find deadlocks: a
  // help for tests, and a second lock for every request.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return longwave::Main();
}
