// longwave-null-server: the server as it is shipped, around a model that computes nothing. For
// measuring the server itself; not installed.

#include <signal.h>
#include <stdlib.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "bench/serving/null_model.h"
#include "server/port_file.h"
#include "server/server.h"

namespace longwave::bench {
namespace {

// A repository of one empty model folder, removed at the end.
class ScratchRepository {
 public:
  ScratchRepository() {
    std::string path = std::filesystem::temp_directory_path() / "longwave-null-XXXXXX";
    if (mkdtemp(path.data()) == nullptr) {
      throw std::filesystem::filesystem_error("mkdtemp", path,
                                              std::error_code(errno, std::generic_category()));
    }
    path_ = path;
    std::filesystem::create_directories(path_ / "null" / "1");
  }
  ~ScratchRepository() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchRepository(const ScratchRepository&) = delete;
  ScratchRepository& operator=(const ScratchRepository&) = delete;

  std::string path() const { return path_; }

 private:
  std::filesystem::path path_;
};

int Main(int argc, char** argv) {
  // Before any other thread, so that all leave the signals to this one.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  const ScratchRepository repository;
  Server::Options options;
  options.model_repository = repository.path();
  options.listen = "127.0.0.1:0";
  options.metrics_listen = "";
  NullModel::Options model_options;
  std::string port_file;
  double us_per_token = 0;

  CLI::App app(
      "Serves a model that computes nothing, to measure the server itself.\n"
      "  longwave-null-server --listen 127.0.0.1:8470\n"
      "  longwave-null-server --us-per-token 20    a slow device: 512 tokens take 10 ms");
  app.add_option("--listen", options.listen, "host:port; port 0 picks a free one")
      ->capture_default_str();
  app.add_option("--metrics-listen", options.metrics_listen, "host:port; empty: nowhere");
  app.add_option("--hidden-size", model_options.hidden_size, "Floats of an embedding")
      ->capture_default_str();
  app.add_option("--us-per-token", us_per_token, "Time that a batch sleeps, per token")
      ->capture_default_str();
  app.add_flag("--shares-device", model_options.shares_device,
               "Both lanes at once, as on a GPU; otherwise short batches in the gaps of long ones");
  app.add_option("--workers", options.workers_per_device, "Batches at once")->capture_default_str();
  app.add_option("--max-batch-tokens", options.batching.max_batch_tokens, "Tokens of one batch")
      ->capture_default_str();
  app.add_option("--max-queue-tokens", options.batching.max_queue_tokens, "Tokens that may wait")
      ->capture_default_str();
  app.add_option("--port-file", port_file, "File that gets the bound ports as JSON");
  CLI11_PARSE(app, argc, argv);
  model_options.time_per_token = absl::Microseconds(us_per_token);

  absl::StatusOr<std::unique_ptr<Server>> server = Server::Create(
      options,
      [&](const std::string&, const std::string&) {
        return std::make_unique<NullModel>(model_options);
      },
      &Clock::Monotonic());
  absl::Status status = server.status();
  if (status.ok()) status = (*server)->Start();
  if (status.ok() && !port_file.empty()) {
    status = WritePortFile(port_file, (*server)->grpc_port(), (*server)->metrics_port());
  }
  if (!status.ok()) {
    std::cerr << "longwave-null-server: " << status.message() << "\n";
    return 1;
  }
  std::cout << "listening on port " << (*server)->grpc_port() << std::endl;
  int signal = 0;
  sigwait(&signals, &signal);
  status = (*server)->Shutdown(absl::Seconds(10));
  if (!status.ok()) std::cerr << "longwave-null-server: " << status.message() << "\n";
  return status.ok() ? 0 : 3;
}

}  // namespace
}  // namespace longwave::bench

int main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as server/main.cc
  return longwave::bench::Main(argc, argv);
}
