// longwave-load: sends traffic to a server and says how long the answers took and whether they were
// right.
//
// Exit codes: 0; 1 when the server cannot be reached or refuses the first requests; 2 for bad
// arguments; 3 when an answer was wrong, lost or came twice.

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "bench/serving/load_driver.h"
#include "bench/serving/load_report.h"

namespace longwave::bench {
namespace {

constexpr int kExitNoServer = 1;
constexpr int kExitBadArguments = 2;
constexpr int kExitMistakes = 3;

constexpr char kFooter[] = R"(
A class of traffic is NAME:KEY=VALUE,... with either concurrency or rate:
  concurrency=N    closed loop: N callers, each sends when it has its answer
  rate=R           open loop: R requests per second, a Poisson process that waits for nobody;
                   latency counts from when a request was due, not from when it could be sent
  streams=N        with rate: dealt out to N callers with one request under way each
  length=A[..B]    token ids per input, log-uniform between A and B (default 512)
  inputs=N         inputs per request (default 1)
  deadline=TIME    such as 250ms; answers after it are not counted as in time (default: none)
  rpc=NAME         encode, stream or classify (default encode)
  pool=N           different requests; each is asked for alone first, to know its answer (default 64)
  key=KEY          sent as an API key

Examples:
  longwave-load --class one:concurrency=1
  longwave-load --server localhost:8470 --class short:length=512,concurrency=16
  longwave-load --class ragged:length=64..4096,rate=40 --class long:length=65536,concurrency=1,pool=1
  longwave-load --class over:length=512,rate=300,deadline=500ms --duration 30 --json over.json
  longwave-load --class many:rate=8000,streams=1000,rpc=stream --duration 600 --watch-pid $(pidof longwave-server)
)";

int Main(int argc, char** argv) {
  LoadDriver::Options options;
  std::vector<std::string> specs;
  std::string json_path;
  double duration = 10;
  double warmup = 1;
  int watch_pid = 0;

  CLI::App app("Sends traffic to a Longwave server and checks every answer.");
  app.footer(kFooter);
  app.add_option("--server", options.server, "Where the server listens, host:port")
      ->capture_default_str();
  app.add_option("--class", specs, "A class of traffic, see below; all are sent at the same time")
      ->required();
  app.add_option("--duration", duration, "Seconds that are measured")->capture_default_str();
  app.add_option("--warmup", warmup, "Seconds before them that are not")->capture_default_str();
  app.add_option("--connections", options.connections, "Connections")->capture_default_str();
  app.add_option("--threads", options.threads, "Threads that receive")->capture_default_str();
  app.add_flag("--spin", options.spin, "Receive without sleeping: wake-ups are not measured");
  app.add_option("--vocab-size", options.vocab_size, "Ids are below this; 0: asks the server")
      ->capture_default_str();
  app.add_option("--tolerance", options.tolerance,
                 "How far an answer may be from what it is alone, as a part of its largest number")
      ->capture_default_str();
  app.add_option("--seed", options.seed, "Of lengths, ids and arrivals")->capture_default_str();
  app.add_option("--json", json_path, "File for everything that was measured");
  app.add_option("--watch-pid", watch_pid,
                 "Process whose memory is sampled each second, once warm-up is over");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitBadArguments;
  }
  options.duration = absl::Seconds(duration);
  options.warmup = absl::Seconds(warmup);

  std::vector<TrafficClass> classes;
  for (const std::string& spec : specs) {
    absl::StatusOr<TrafficClass> traffic = ParseTrafficClass(spec);
    if (!traffic.ok()) {
      std::cerr << "longwave-load: --class " << traffic.status().message() << "\n";
      return kExitBadArguments;
    }
    classes.push_back(*std::move(traffic));
  }
  absl::StatusOr<std::unique_ptr<LoadDriver>> driver =
      LoadDriver::Create(options, std::move(classes));
  if (!driver.ok()) {
    std::cerr << "longwave-load: " << driver.status().message() << "\n";
    return absl::IsInvalidArgument(driver.status()) ? kExitBadArguments : kExitNoServer;
  }
  if (const auto names = (*driver)->ClassesWithEqualAnswers(); !names.empty()) {
    std::cerr << "longwave-load: different requests have the same answer, so mix-ups would not be "
                 "noticed: "
              << absl::StrJoin(names, ", ") << "\n";
  }

  const bool terminal = isatty(STDERR_FILENO) != 0;
  MemorySeries memory(watch_pid);
  (*driver)->Run([&](absl::Duration elapsed) {
    if (elapsed >= options.warmup) memory.Sample();
    if (terminal) std::cerr << "\r\x1b[K" << ProgressLine(**driver, elapsed) << std::flush;
  });
  if (terminal) std::cerr << "\r\x1b[K";
  PrintTable(**driver, options.duration, std::cout);
  if (!json_path.empty()) {
    std::ofstream(json_path) << ToJson(**driver, options, memory) << "\n";
  }
  return Mistakes(**driver) == 0 ? 0 : kExitMistakes;
}

}  // namespace
}  // namespace longwave::bench

int main(int argc, char** argv) {
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);  // as server/main.cc
  return longwave::bench::Main(argc, argv);
}
