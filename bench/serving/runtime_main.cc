// longwave-runtime-load: gives a model batches directly, without a server: the throughput that a
// server in front of it can reach at most.

#include <CLI/CLI.hpp>
#include <fstream>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "bench/serving/latency_histogram.h"
#include "bench/serving/traffic.h"
#include "model/runtime/model.h"
#include "server/batching/batching_options.h"
#include "server/batching/load_meter.h"

namespace longwave::bench {
namespace {

struct Options {
  std::string folder;
  Model::Options model;
  std::string traffic = "mix:length=512,concurrency=16";
  BatchingOptions batching;  // its tokens and time of a batch; the server's defaults
  double duration = 10;
  double warmup = 1;
  uint64_t seed = 1;
  std::string json_path;
};

struct Measured {
  int64_t sequences = 0;
  int64_t tokens = 0;
  int64_t failed = 0;
  absl::Duration elapsed;
  LatencyHistogram batches;
};

// Runs batches of what `concurrency` callers would have waiting, cut as the server cuts them: at so
// many tokens, and at so much time as its own meter predicts from the batches before. The first
// sequence runs alone, as the first request to a server does.
void Drive(Model& model, const TrafficClass& traffic, const Options& options, Measured& measured) {
  const std::vector<int64_t> lengths = DrawLengths(traffic, traffic.pool, options.seed);
  Deck deck(lengths.size(), options.seed);
  std::mt19937_64 random(options.seed);
  std::uniform_int_distribution<int32_t> id(0, static_cast<int32_t>(model.info().vocab_size - 1));
  std::vector<int32_t> ids(static_cast<size_t>(traffic.max_tokens));
  for (int32_t& value : ids) value = id(random);

  LoadMeter meter;
  int64_t next = lengths[deck.Deal()];
  const absl::Time begin = absl::Now();
  const absl::Time measured_from = begin + absl::Seconds(options.warmup);
  absl::Time start = begin;
  absl::Time first = absl::InfiniteFuture();
  while (start < measured_from + absl::Seconds(options.duration)) {
    std::vector<RunItem> batch;
    int64_t tokens = 0;
    double cost = 0;
    while (static_cast<int>(batch.size()) < traffic.concurrency) {
      const double more = model.PredictMilliseconds(next);
      if (!batch.empty() && (!meter.known() || tokens + next > options.batching.max_batch_tokens ||
                             meter.BatchTime(cost + more) > options.batching.max_batch_time)) {
        break;
      }
      tokens += next;
      cost += more;
      batch.push_back({absl::MakeConstSpan(ids).first(static_cast<size_t>(next)), Task::kEncode,
                       model.info().default_pooling});
      next = lengths[deck.Deal()];
    }
    const std::vector<RunResult> results = model.Run(batch);
    const absl::Time end = absl::Now();
    meter.OnBatch(cost, tokens, end - start);
    if (start >= measured_from) {
      first = std::min(first, start);
      measured.elapsed = end - first;
      measured.tokens += tokens;
      measured.sequences += static_cast<int64_t>(batch.size());
      measured.batches.Record(end - start);
      for (const RunResult& result : results) measured.failed += result.status.ok() ? 0 : 1;
    }
    start = end;
  }
}

int Main(int argc, char** argv) {
  Options options;
  CLI::App app(
      "Runs a model without a server, with the lengths of a class of traffic (longwave-load "
      "--help).\n"
      "  longwave-runtime-load --model model/pretrained/file-type/1 --class "
      "mix:length=64..4096,concurrency=32");
  app.add_option("--model", options.folder, "Model folder")->required();
  app.add_option("--device", options.model.device, "Where to run")->capture_default_str();
  app.add_option("--model-threads", options.model.threads, "Threads of one pass; 0: one per core")
      ->capture_default_str();
  app.add_flag("--batch-invariant", options.model.batch_invariant,
               "Each sequence in the same steps whoever shares its batch");
  app.add_option("--class", options.traffic, "Lengths, and how many sequences wait at a time")
      ->capture_default_str();
  app.add_option("--max-batch-tokens", options.batching.max_batch_tokens, "Tokens of one batch")
      ->capture_default_str();
  std::string max_batch_time = absl::FormatDuration(options.batching.max_batch_time);
  app.add_option("--max-batch-time", max_batch_time,
                 "Predicted time of one batch, such as 50ms or inf")
      ->capture_default_str();
  app.add_option("--duration", options.duration, "Seconds that are measured")
      ->capture_default_str();
  app.add_option("--warmup", options.warmup, "Seconds before them")->capture_default_str();
  app.add_option("--seed", options.seed, "Of lengths and ids")->capture_default_str();
  app.add_option("--json", options.json_path, "File for what was measured");
  CLI11_PARSE(app, argc, argv);

  absl::Status bounds = absl::OkStatus();
  if (absl::ParseDuration(max_batch_time, &options.batching.max_batch_time)) {
    bounds = options.batching.Validate();
  } else {
    bounds = absl::InvalidArgumentError(
        absl::StrCat("max_batch_time: found ", max_batch_time, ", expected a time such as 50ms"));
  }
  if (!bounds.ok()) {
    std::cerr << "longwave-runtime-load: " << bounds.message() << "\n";
    return 2;
  }
  absl::StatusOr<TrafficClass> traffic = ParseTrafficClass(options.traffic);
  if (traffic.ok() && traffic->concurrency == 0) {
    traffic = absl::InvalidArgumentError("expected concurrency");
  }
  if (!traffic.ok()) {
    std::cerr << "longwave-runtime-load: --class " << traffic.status().message() << "\n";
    return 2;
  }
  absl::StatusOr<std::unique_ptr<Model>> model = Model::Load(options.folder, options.model);
  if (!model.ok()) {
    std::cerr << "longwave-runtime-load: " << model.status().message() << "\n";
    return 1;
  }
  Measured measured;
  Drive(**model, *traffic, options, measured);
  const double seconds = absl::ToDoubleSeconds(measured.elapsed);
  const double per_s = static_cast<double>(measured.sequences) / seconds;
  const double tokens_per_s = static_cast<double>(measured.tokens) / seconds;
  std::cout << absl::StrFormat(
      "%.1f sequences/s, %.0f tokens/s, batch p50 %.2f ms, %d failed\n", per_s, tokens_per_s,
      absl::ToDoubleMilliseconds(measured.batches.Quantile(0.5)), measured.failed);
  if (!options.json_path.empty()) {
    std::ofstream(options.json_path)
        << nlohmann::json{{"class", options.traffic},
                          {"max_batch_tokens", options.batching.max_batch_tokens},
                          {"max_batch_time", absl::FormatDuration(options.batching.max_batch_time)},
                          {"seconds", seconds},
                          {"answered_per_s", per_s},
                          {"tokens_per_s", tokens_per_s},
                          {"failed", measured.failed},
                          {"batch_p50_ms",
                           absl::ToDoubleMilliseconds(measured.batches.Quantile(0.5))}}
               .dump(1)
        << "\n";
  }
  return measured.failed == 0 ? 0 : 3;
}

}  // namespace
}  // namespace longwave::bench

int main(int argc, char** argv) { return longwave::bench::Main(argc, argv); }
