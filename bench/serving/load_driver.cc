#include "bench/serving/load_driver.h"

#include <sys/prctl.h>

#include <algorithm>
#include <queue>
#include <random>
#include <thread>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "longwave/v1/model.grpc.pb.h"

namespace longwave::bench {
namespace {

using SteadyClock = std::chrono::steady_clock;
using SystemClock = std::chrono::system_clock;

constexpr int kNoCaller = -1;

absl::Status ToStatus(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

SteadyClock::duration ToSteady(absl::Duration duration) {
  return absl::ToChronoNanoseconds(duration);
}

// The size of the only model's vocabulary.
absl::StatusOr<int64_t> AskVocabSize(const std::shared_ptr<grpc::Channel>& channel) {
  const auto stub = v1::ModelService::NewStub(channel);
  grpc::ClientContext context;
  v1::ListModelsResponse response;
  const grpc::Status status = stub->ListModels(&context, v1::ListModelsRequest(), &response);
  if (!status.ok()) return ToStatus(status);
  if (response.models_size() != 1) {
    return absl::FailedPreconditionError(
        absl::StrCat("the server has ", response.models_size(), " models, expected one"));
  }
  return response.models(0).vocab_size();
}

}  // namespace

bool IsRefusal(grpc::StatusCode code, absl::Duration latency, absl::Duration time_limit) {
  switch (code) {
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
    case grpc::StatusCode::UNAVAILABLE:
      return true;
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return latency < time_limit / 10;
    default:
      return false;
  }
}

absl::Status LoadDriver::Options::Validate() const {
  if (connections < 1 || threads < 1) {
    return absl::InvalidArgumentError(absl::StrCat("connections and threads: found ", connections,
                                                   " and ", threads, ", expected at least 1"));
  }
  if (warmup < absl::ZeroDuration() || duration <= absl::ZeroDuration()) {
    return absl::InvalidArgumentError("warmup and duration: expected a positive time");
  }
  if (!(tolerance >= 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("tolerance: found ", tolerance, ", expected at least 0"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<LoadDriver>> LoadDriver::Create(const Options& options,
                                                               std::vector<TrafficClass> classes) {
  if (absl::Status status = options.Validate(); !status.ok()) return status;
  auto driver = absl::WrapUnique(new LoadDriver(options, std::move(classes)));
  if (absl::Status status = driver->Connect(); !status.ok()) return status;
  return driver;
}

LoadDriver::LoadDriver(const Options& options, std::vector<TrafficClass> classes)
    : options_(options), classes_(std::move(classes)) {}

LoadDriver::~LoadDriver() = default;

absl::Status LoadDriver::Connect() {
  for (int i = 0; i < options_.connections; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // or all would share one connection
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
    Connection connection;
    connection.channel =
        grpc::CreateCustomChannel(options_.server, grpc::InsecureChannelCredentials(), arguments);
    const auto deadline = SystemClock::now() + ToSteady(options_.connect_timeout);
    if (!connection.channel->WaitForConnected(deadline)) {
      return absl::UnavailableError(absl::StrCat("nobody answers at ", options_.server));
    }
    connection.generic = std::make_unique<grpc::GenericStub>(connection.channel);
    connection.stub = v1::InferenceService::NewStub(connection.channel);
    connections_.push_back(std::move(connection));
  }
  for (int i = 0; i < options_.threads; ++i) {
    queues_.push_back(std::make_unique<grpc::CompletionQueue>());
  }
  int64_t vocab_size = options_.vocab_size;
  if (vocab_size == 0) {
    absl::StatusOr<int64_t> asked = AskVocabSize(connections_.front().channel);
    if (!asked.ok()) return asked.status();
    vocab_size = *asked;
  }
  for (size_t i = 0; i < classes_.size(); ++i) {
    auto load = std::make_unique<ClassLoad>(classes_[i], vocab_size, options_.seed + i);
    absl::Status status = load->pool.LearnAnswers(*connections_.front().stub);
    if (!status.ok()) {
      return absl::Status(status.code(), absl::StrCat(classes_[i].name, ": ", status.message()));
    }
    absl::MutexLock lock(&load->mutex);
    load->waiting.resize(classes_[i].streams);
    load->busy.resize(classes_[i].streams);
    loads_.push_back(std::move(load));
  }
  return absl::OkStatus();
}

std::vector<std::string> LoadDriver::ClassesWithEqualAnswers() const {
  std::vector<std::string> names;
  for (const auto& load : loads_) {
    if (!load->pool.AnswersDiffer()) names.push_back(load->traffic.name);
  }
  return names;
}

absl::Duration LoadDriver::TimeLimit(const TrafficClass& traffic) const {
  return std::min(traffic.deadline, options_.lost_after);
}

void LoadDriver::Run(const std::function<void(absl::Duration)>& on_progress) {
  start_ = SteadyClock::now();
  measured_from_ = start_ + ToSteady(options_.warmup);
  end_ = measured_from_ + ToSteady(options_.duration);

  std::vector<std::thread> threads;
  for (const auto& queue : queues_) {
    threads.emplace_back([this, &queue] { Receive(*queue); });
  }
  outstanding_ = 1;  // the sender
  threads.emplace_back([this] {
    SendOpenLoops();
    --outstanding_;
  });
  for (size_t i = 0; i < loads_.size(); ++i) {
    for (int caller = 0; caller < classes_[i].concurrency; ++caller) {
      Send(static_cast<int>(i), caller, SteadyClock::now());
    }
  }
  auto next_progress = start_;
  while (outstanding_ > 0) {
    const auto now = SteadyClock::now();
    if (now >= next_progress) {
      on_progress(absl::FromChrono(now - start_));
      next_progress += std::chrono::seconds(1);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  for (const auto& queue : queues_) queue->Shutdown();
  for (std::thread& thread : threads) thread.join();
}

void LoadDriver::Send(int traffic_class, int caller, TimePoint due) {
  ClassLoad& load = *loads_[traffic_class];
  size_t choice = 0;
  {
    absl::MutexLock lock(&load.mutex);
    choice = load.deck.Deal();
  }
  const uint64_t route = next_route_.fetch_add(1, std::memory_order_relaxed);
  ++outstanding_;
  load.stats.sent.fetch_add(1, std::memory_order_relaxed);
  std::unique_ptr<LoadCall> call =
      NewLoadCall(load.traffic.rpc, load.pool.requests()[choice], traffic_class, caller, due);
  const auto now = SteadyClock::now();
  if (due >= measured_from_ && due < end_) load.stats.send_lag.Record(absl::FromChrono(now - due));
  const absl::Duration left = TimeLimit(load.traffic) - absl::FromChrono(now - due);
  call.release()->Start(connections_[route % connections_.size()],
                        queues_[route % queues_.size()].get(), load.traffic.key,
                        SystemClock::now() + ToSteady(left));
}

void LoadDriver::SendOpenLoops() {
  prctl(PR_SET_TIMERSLACK, 1);  // the default lets every sleep last 50 us too long
  struct Arrival {
    TimePoint due;
    int traffic_class;
    bool operator>(const Arrival& other) const { return due > other.due; }
  };
  std::priority_queue<Arrival, std::vector<Arrival>, std::greater<>> next;
  std::vector<PoissonProcess> processes;
  const auto push = [&](int traffic_class) {
    const TimePoint due = start_ + ToSteady(processes[traffic_class].Next());
    if (due < end_) next.push({due, traffic_class});
  };
  for (size_t i = 0; i < classes_.size(); ++i) {
    const bool open = classes_[i].rate > 0;
    processes.emplace_back(open ? classes_[i].rate : 1.0, options_.seed + 1000 + i);
    if (open) push(static_cast<int>(i));
  }
  std::mt19937_64 random(options_.seed);
  while (!next.empty()) {
    const Arrival arrival = next.top();
    next.pop();
    push(arrival.traffic_class);
    std::this_thread::sleep_until(arrival.due);
    const int streams = classes_[arrival.traffic_class].streams;
    if (streams == 0) {
      Send(arrival.traffic_class, kNoCaller, arrival.due);
      continue;
    }
    const int caller = static_cast<int>(random() % static_cast<uint64_t>(streams));
    ClassLoad& load = *loads_[arrival.traffic_class];
    {
      absl::MutexLock lock(&load.mutex);
      if (load.busy[caller]) {
        load.waiting[caller].push_back(arrival.due);
        continue;
      }
      load.busy[caller] = true;
    }
    Send(arrival.traffic_class, caller, arrival.due);
  }
}

void LoadDriver::Receive(grpc::CompletionQueue& queue) {
  void* tag = nullptr;
  bool ok = false;
  const auto next = [&] {
    if (!options_.spin) return queue.Next(&tag, &ok);
    grpc::CompletionQueue::NextStatus status;
    do {
      status = queue.AsyncNext(&tag, &ok, gpr_time_0(GPR_CLOCK_MONOTONIC));
    } while (status == grpc::CompletionQueue::TIMEOUT);
    return status == grpc::CompletionQueue::GOT_EVENT;
  };
  while (next()) {
    LoadCall* const call = static_cast<LoadCall*>(tag);
    if (!call->OnEvent(ok)) continue;
    OnEnded(*call);
    delete call;
    --outstanding_;
  }
}

void LoadDriver::OnEnded(LoadCall& call) {
  Record(call, SteadyClock::now());
  if (call.caller() == kNoCaller) return;
  ClassLoad& load = *loads_[call.traffic_class()];
  TimePoint due = SteadyClock::now();
  if (load.traffic.concurrency > 0) {
    if (due >= end_) return;
  } else {
    absl::MutexLock lock(&load.mutex);
    std::deque<TimePoint>& waiting = load.waiting[call.caller()];
    if (waiting.empty()) {
      load.busy[call.caller()] = false;
      return;
    }
    due = waiting.front();
    waiting.pop_front();
  }
  Send(call.traffic_class(), call.caller(), due);
}

void LoadDriver::Record(LoadCall& call, TimePoint now) {
  ClassStats& stats = loads_[call.traffic_class()]->stats;
  const TrafficClass& traffic = loads_[call.traffic_class()]->traffic;
  const CallResult result = call.Result(options_.tolerance);
  const absl::Duration latency = absl::FromChrono(now - call.due());
  const bool ok = result.code == grpc::StatusCode::OK;
  ++stats.ended;
  ++stats.by_code[std::clamp<int>(result.code, 0, static_cast<int>(stats.by_code.size()) - 1)];
  stats.duplicated += result.duplicated;
  if (ok && !result.right) ++stats.wrong;
  if (result.code == grpc::StatusCode::DEADLINE_EXCEEDED &&
      traffic.deadline > options_.lost_after && latency >= options_.lost_after) {
    ++stats.lost;
  }
  if (call.due() < measured_from_ || call.due() >= end_) return;
  if (ok && result.right) {
    stats.answered.Record(latency);
    stats.tokens += call.request().tokens;
    if (latency <= traffic.deadline) ++stats.in_deadline;
    stats.queue.Record(absl::Nanoseconds(result.timing.queue_ns()));
    stats.compute.Record(absl::Nanoseconds(result.timing.compute_ns()));
    stats.total.Record(absl::Nanoseconds(result.timing.total_ns()));
  } else if (IsRefusal(result.code, latency, TimeLimit(traffic))) {
    stats.refused.Record(latency);
  } else {
    stats.failed.Record(latency);
  }
}

}  // namespace longwave::bench
