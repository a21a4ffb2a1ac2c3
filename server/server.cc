#include "server/server.h"

#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <limits>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "server/batching/memory_budget.h"
#include "server/host_memory.h"
#include "server/metrics/exposer.h"
#include "server/metrics/metrics.h"
#include "server/rpc/inference_service.h"
#include "server/rpc/model_executor.h"
#include "server/rpc/model_service.h"
#include "server/rpc/request_gate.h"
#include "server/warm_up.h"

namespace longwave {
namespace {

// How long connections may take to close after the last answer: health watches and reflection
// streams would never end.
constexpr std::chrono::milliseconds kCloseGrace{500};

// Each has a thread.
constexpr int kMaxWorkersPerDevice = 256;

// The executors of a model version, one per device, and its batcher.
struct Serving {
  std::vector<std::unique_ptr<ModelExecutor>> executors;
  std::unique_ptr<Batcher> batcher;  // after the executors that it uses
};

// Memory that batches may take of a device whose models have been loaded, of which the last one
// left `free` bytes (0: not known, it is this process's). Some is left for what estimates do not
// see: results, messages, the allocator.
int64_t BudgetFor(int64_t free, int64_t wanted) {
  constexpr double kPart = 0.9;
  if (wanted > 0) return wanted;
  return static_cast<int64_t>(kPart * static_cast<double>(free > 0 ? free : AvailableHostMemory()));
}

// Lengths for which the metrics tell how the attention is computed: a short input, a long one, and
// the longest.
constexpr int64_t kShownLengths[] = {512, 16384};

void ShowAttentionPlans(const LoadedModel& loaded, Metrics& metrics) {
  const Model& model = *loaded.replicas[0];
  const int64_t max_length = model.info().max_length;
  std::vector<int64_t> lengths;
  for (const int64_t length : kShownLengths) {
    if (length < max_length) lengths.push_back(length);
  }
  lengths.push_back(max_length);
  for (const int64_t length : lengths) {
    const absl::StatusOr<std::vector<AttentionPlan>> plans = model.PlanAttention({&length, 1});
    if (!plans.ok()) continue;  // metrics are no reason not to serve
    for (const AttentionPlan& plan : *plans) {
      metrics.AddAttentionPlan(loaded.name, loaded.version, length, plan.algorithm,
                               static_cast<int64_t>(plan.layers.size() * plan.heads.size()));
    }
  }
}

// What the RPCs are to know of a model.
ModelInfo ServedInfo(const LoadedModel& loaded, int64_t max_input_tokens) {
  ModelInfo info = loaded.replicas[0]->info();
  if (max_input_tokens > 0) info.max_length = std::min(info.max_length, max_input_tokens);
  for (size_t i = 1; i < loaded.replicas.size(); ++i) {
    absl::StrAppend(&info.device, ",", loaded.replicas[i]->info().device);
  }
  return info;
}

std::string Describe(const LoadedModel& loaded) {
  return absl::StrCat("model ", loaded.name, " version ", loaded.version);
}

// With what the scheduler will make of requests; longer inputs run alone, for so long that what
// they pay for the first time does not count. All devices at once, so that they do not add up.
absl::Status WarmUpForServing(const LoadedModel& loaded, const Server::Options& options,
                              const Clock& clock) {
  const int64_t max_tokens =
      std::min(ServedInfo(loaded, options.limits.max_input_tokens).max_length,
               options.batching.max_batch_tokens);
  const std::vector<WarmUpShape> shapes = WarmUpShapes(max_tokens);
  std::vector<std::future<absl::Status>> ends;
  for (const std::unique_ptr<Model>& replica : loaded.replicas) {
    Model* const model = replica.get();
    ends.push_back(std::async(std::launch::async, [&, model] {
      const std::string name = absl::StrCat(Describe(loaded), " on ", model->info().device);
      return WarmUp(*model, shapes, options.warm_up_time, clock, [&name](const std::string& line) {
        spdlog::info("{}: warm-up {}", name, line);
      });
    }));
  }
  absl::Status status;
  for (std::future<absl::Status>& end : ends) status.Update(end.get());
  if (status.ok()) return status;
  return absl::Status(status.code(), absl::StrCat(Describe(loaded), ": ", status.message()));
}

}  // namespace

// In the order of construction; destroyed in reverse, so that nothing outlives what it points to.
struct Server::Parts {
  Options options;
  const Clock* clock = nullptr;
  Metrics metrics;
  std::optional<RequestGate> gate;
  std::optional<ResultCache> cache;
  std::vector<LoadedModel> models;
  std::optional<ModelCatalog> catalog;
  std::optional<InferenceService> inference;
  std::optional<ModelService> model_service;
  std::map<std::string, std::unique_ptr<MemoryBudget>> memory;  // by device
  // By device and worker: those of all models, as each has its part of the device.
  std::map<std::pair<std::string, int>, std::unique_ptr<LaneGate>> gates;
  std::vector<Serving> serving;
  std::unique_ptr<MetricsExposer> exposer;
  std::unique_ptr<grpc::Server> grpc;
  int grpc_port = 0;
  bool shut_down = false;

  // Makes the budget of each device, once all models are loaded.
  void DivideMemory();

  // Makes the executors and the batcher of a model, and says what the RPCs are to know of it.
  absl::StatusOr<ServedModel> Serve(const LoadedModel& loaded);
};

void Server::Parts::DivideMemory() {
  std::map<std::string, int64_t> free;  // what the last model that was loaded has left
  for (const LoadedModel& loaded : models) {
    for (const std::unique_ptr<Model>& replica : loaded.replicas) {
      const ModelInfo& info = replica->info();
      const auto [entry, is_first] = free.emplace(info.device, info.free_memory);
      if (!is_first) entry->second = std::min(entry->second, info.free_memory);
    }
  }
  for (const auto& [device, bytes] : free) {
    const int64_t budget = BudgetFor(bytes, options.memory_budget);
    memory.emplace(device, std::make_unique<MemoryBudget>(budget, MemoryBudget::kMaxBypass,
                                                          metrics.AddMemory(device, budget)));
    spdlog::info("{}: batches may take {} MiB", device, budget >> 20);
  }
}

absl::StatusOr<ServedModel> Server::Parts::Serve(const LoadedModel& loaded) {
  Serving made;
  std::vector<Worker> workers;
  std::vector<std::string> worker_devices;
  for (const std::unique_ptr<Model>& replica : loaded.replicas) {
    const std::string& device = replica->info().device;
    made.executors.push_back(std::make_unique<ModelExecutor>(replica.get()));
    for (int i = 0; i < options.workers_per_device; ++i) {
      std::unique_ptr<LaneGate>& gate = gates[{device, i}];
      if (gate == nullptr) {
        gate = std::make_unique<LaneGate>(options.batching, replica->info().shares_device);
      }
      workers.push_back({made.executors.back().get(), memory.at(device).get(), gate.get()});
      worker_devices.push_back(device);
    }
  }
  ModelMetrics* const model_metrics = metrics.AddModel(loaded.name, loaded.version, worker_devices);
  absl::StatusOr<std::unique_ptr<Batcher>> batcher =
      Batcher::Create(options.batching, std::move(workers), clock, model_metrics);
  if (!batcher.ok()) return batcher.status();
  made.batcher = *std::move(batcher);
  serving.push_back(std::move(made));
  return ServedModel{loaded.name,
                     loaded.version,
                     loaded.replicas[0].get(),
                     serving.back().batcher.get(),
                     model_metrics,
                     ServedInfo(loaded, options.limits.max_input_tokens)};
}

absl::Status Server::Options::Validate() const {
  if (model_repository.empty()) {
    return absl::InvalidArgumentError("model_repository: found nothing, expected a folder");
  }
  if (devices.empty()) {
    return absl::InvalidArgumentError("devices: found none, expected at least one");
  }
  if (workers_per_device < 1 || workers_per_device > kMaxWorkersPerDevice) {
    return absl::InvalidArgumentError(absl::StrCat("workers_per_device: found ", workers_per_device,
                                                   ", expected 1 to ", kMaxWorkersPerDevice));
  }
  if (max_message_bytes < 1 || max_message_bytes > std::numeric_limits<int>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("max_message_bytes: found ", max_message_bytes,
                                                   ", expected 1 to ",
                                                   std::numeric_limits<int>::max()));
  }
  if (max_in_flight_bytes < max_message_bytes) {
    return absl::InvalidArgumentError(absl::StrCat("max_in_flight_bytes: found ",
                                                   max_in_flight_bytes, ", expected at least the ",
                                                   max_message_bytes, " of max_message_bytes"));
  }
  if (result_cache_bytes < 0) {
    return absl::InvalidArgumentError(absl::StrCat("result_cache_bytes: found ", result_cache_bytes,
                                                   ", expected a size, or 0 for no cache"));
  }
  if (limits.max_input_tokens < 0) {
    return absl::InvalidArgumentError(absl::StrCat("max_input_tokens: found ",
                                                   limits.max_input_tokens,
                                                   ", expected at least 1, or 0 for none"));
  }
  if (limits.max_inputs < 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_inputs: found ", limits.max_inputs, ", expected at least 1"));
  }
  if (limits.max_response_bytes < 1 ||
      limits.max_response_bytes > std::numeric_limits<int>::max()) {
    return absl::InvalidArgumentError(absl::StrCat("max_response_bytes: found ",
                                                   limits.max_response_bytes, ", expected 1 to ",
                                                   std::numeric_limits<int>::max()));
  }
  if (memory_budget < 0) {
    return absl::InvalidArgumentError(absl::StrCat("memory_budget: found ", memory_budget,
                                                   ", expected at least 1, or 0 for what is free"));
  }
  if (warm_up_time < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "warm_up_time: found ", absl::FormatDuration(warm_up_time), ", expected no negative time"));
  }
  return batching.Validate();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Create(const Options& options,
                                                       const ModelLoader& loader,
                                                       const Clock* clock) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  auto parts = std::make_unique<Parts>();
  parts->options = options;
  parts->clock = clock;
  parts->gate.emplace(options.max_in_flight_bytes);
  if (options.result_cache_bytes > 0) parts->cache.emplace(options.result_cache_bytes);

  absl::StatusOr<std::vector<LoadedModel>> models =
      LoadRepository(options.model_repository, options.devices, loader);
  if (!models.ok()) return models.status();
  parts->models = *std::move(models);
  for (const LoadedModel& loaded : parts->models) {
    if (absl::Status status = WarmUpForServing(loaded, options, *clock); !status.ok()) {
      return status;
    }
    ShowAttentionPlans(loaded, parts->metrics);
  }
  parts->DivideMemory();

  std::vector<ServedModel> served;
  for (const LoadedModel& loaded : parts->models) {
    absl::StatusOr<ServedModel> model = parts->Serve(loaded);
    if (!model.ok()) return model.status();
    served.push_back(*std::move(model));
    const int64_t max_length = served.back().info.max_length;
    if (max_length > options.batching.max_queue_tokens) {
      spdlog::warn("{} takes {} tokens, but the queue holds {}: longer inputs are refused",
                   Describe(loaded), max_length, options.batching.max_queue_tokens);
    }
  }
  parts->catalog.emplace(std::move(served));
  parts->inference.emplace(ServiceContext{&*parts->catalog, &parts->metrics, &*parts->gate,
                                          parts->cache.has_value() ? &*parts->cache : nullptr,
                                          clock, options.limits, &parts->options.weights});
  parts->model_service.emplace(&*parts->catalog);
  return absl::WrapUnique(new Server(std::move(parts)));
}

Server::Server(std::unique_ptr<Parts> parts) : parts_(std::move(parts)) {}

Server::~Server() { Shutdown(absl::ZeroDuration()).IgnoreError(); }

absl::Status Server::Start() {
  if (!parts_->options.metrics_listen.empty()) {
    absl::StatusOr<std::unique_ptr<MetricsExposer>> exposer =
        MetricsExposer::Create(parts_->options.metrics_listen, parts_->metrics.registry());
    if (!exposer.ok()) return exposer.status();
    parts_->exposer = *std::move(exposer);
  }

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  builder.AddListeningPort(parts_->options.listen, grpc::InsecureServerCredentials(),
                           &parts_->grpc_port);
  // Otherwise a second server on the same port would silently take a part of the first one's
  // connections.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(static_cast<int>(parts_->options.max_message_bytes));
  builder.RegisterService(&*parts_->inference);
  builder.RegisterService(&*parts_->model_service);
  parts_->grpc = builder.BuildAndStart();
  if (parts_->grpc == nullptr || parts_->grpc_port == 0) {
    return absl::UnavailableError(
        absl::StrCat("gRPC: cannot listen on ", parts_->options.listen, " (is the port in use?)"));
  }
  parts_->grpc->GetHealthCheckService()->SetServingStatus(v1::InferenceService::service_full_name(),
                                                          true);
  return absl::OkStatus();
}

absl::Status Server::Shutdown(absl::Duration drain) {
  if (std::exchange(parts_->shut_down, true)) return absl::OkStatus();
  const absl::Time deadline = parts_->clock->Now() + drain;
  if (parts_->grpc != nullptr) parts_->grpc->GetHealthCheckService()->Shutdown();
  parts_->gate->Close();
  const int64_t left = parts_->gate->AwaitEmpty(*parts_->clock, deadline);
  absl::Status status;
  if (left > 0) {
    status = absl::DeadlineExceededError(
        absl::StrCat(left, " requests were not answered within ", absl::FormatDuration(drain)));
  }
  // Whatever still waits belongs to those requests, or to nobody.
  for (Serving& serving : parts_->serving) {
    serving.batcher->Drain(parts_->clock->Now()).IgnoreError();
  }
  if (parts_->grpc != nullptr) {
    parts_->grpc->Shutdown(std::chrono::system_clock::now() + kCloseGrace);
    parts_->grpc->Wait();
  }
  return status;
}

int Server::grpc_port() const { return parts_->grpc_port; }

int Server::metrics_port() const {
  return parts_->exposer == nullptr ? 0 : parts_->exposer->port();
}

std::shared_ptr<prometheus::Registry> Server::metrics_registry() const {
  return parts_->metrics.registry();
}

absl::Span<const ServedModel> Server::models() const { return parts_->catalog->models(); }

}  // namespace longwave
