#include "bench/serving/load_report.h"

#include <unistd.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/humanize.h"
#include "client/cli/table.h"

namespace longwave::bench {
namespace {

using client::HumanCount;
using client::HumanDuration;
using client::Table;

std::string PerSecond(int64_t count, absl::Duration measured) {
  return absl::StrFormat("%.1f", static_cast<double>(count) / absl::ToDoubleSeconds(measured));
}

std::string Quantile(const LatencyHistogram& histogram, double q) {
  return histogram.count() == 0 ? "-" : HumanDuration(histogram.Quantile(q));
}

nlohmann::json ToJson(const LatencyHistogram& histogram) {
  nlohmann::json json{{"count", histogram.count()}};
  if (histogram.count() == 0) return json;
  const auto milliseconds = [](absl::Duration d) { return absl::ToDoubleMilliseconds(d); };
  json["mean"] = milliseconds(histogram.mean());
  json["p50"] = milliseconds(histogram.Quantile(0.5));
  json["p95"] = milliseconds(histogram.Quantile(0.95));
  json["p99"] = milliseconds(histogram.Quantile(0.99));
  json["p99_9"] = milliseconds(histogram.Quantile(0.999));
  json["max"] = milliseconds(histogram.max());
  return json;
}

const char* RpcName(LoadRpc rpc) {
  switch (rpc) {
    case LoadRpc::kEncode:
      return "encode";
    case LoadRpc::kEncodeStream:
      return "stream";
    case LoadRpc::kClassify:
      return "classify";
  }
  return "";
}

nlohmann::json ToJson(const TrafficClass& traffic) {
  nlohmann::json json{{"name", traffic.name},
                      {"rpc", RpcName(traffic.rpc)},
                      {"tokens", {traffic.min_tokens, traffic.max_tokens}},
                      {"inputs", traffic.inputs},
                      {"pool", traffic.pool}};
  if (traffic.rate > 0) json["rate"] = traffic.rate;
  if (traffic.streams > 0) json["streams"] = traffic.streams;
  if (traffic.concurrency > 0) json["concurrency"] = traffic.concurrency;
  if (traffic.deadline != absl::InfiniteDuration()) {
    json["deadline_ms"] = absl::ToDoubleMilliseconds(traffic.deadline);
  }
  return json;
}

nlohmann::json ToJson(const ClassStats& stats, absl::Duration measured) {
  const double seconds = absl::ToDoubleSeconds(measured);
  nlohmann::json codes = nlohmann::json::object();
  for (size_t code = 0; code < stats.by_code.size(); ++code) {
    if (stats.by_code[code] == 0) continue;
    codes[absl::StatusCodeToString(static_cast<absl::StatusCode>(code))] =
        stats.by_code[code].load();
  }
  const int64_t accepted = stats.answered.count() + stats.failed.count();
  nlohmann::json json{
      {"sent", stats.sent.load()},
      {"by_code", codes},
      {"wrong", stats.wrong.load()},
      {"lost", stats.lost.load() + stats.sent.load() - stats.ended.load()},
      {"duplicated", stats.duplicated.load()},
      {"answered_per_s", static_cast<double>(stats.answered.count()) / seconds},
      {"goodput_per_s", static_cast<double>(stats.in_deadline.load()) / seconds},
      {"tokens_per_s", static_cast<double>(stats.tokens.load()) / seconds},
      {"answered_ms", ToJson(stats.answered)},
      {"refused_ms", ToJson(stats.refused)},
      {"failed_ms", ToJson(stats.failed)},
      {"send_lag_ms", ToJson(stats.send_lag)},
      {"server_queue_ms", ToJson(stats.queue)},
      {"server_compute_ms", ToJson(stats.compute)},
      {"server_total_ms", ToJson(stats.total)},
  };
  if (accepted > 0) {
    json["accepted_in_deadline"] =
        static_cast<double>(stats.in_deadline.load()) / static_cast<double>(accepted);
  }
  return json;
}

}  // namespace

void MemorySeries::Sample() {
  if (pid_ == 0) return;
  std::ifstream statm(absl::StrCat("/proc/", pid_, "/statm"));
  int64_t size = 0;
  int64_t resident = 0;
  if (statm >> size >> resident) bytes_.push_back(resident * sysconf(_SC_PAGESIZE));
}

std::string ProgressLine(const LoadDriver& driver, absl::Duration elapsed) {
  std::string line = absl::StrFormat("%5.0f s", absl::ToDoubleSeconds(elapsed));
  for (size_t i = 0; i < driver.classes().size(); ++i) {
    const ClassStats& stats = driver.stats(i);
    absl::StrAppend(&line, "  ", driver.classes()[i].name, ": ", HumanCount(stats.ended), " of ",
                    HumanCount(stats.sent), " ended, p50 ", Quantile(stats.answered, 0.5), ", p99 ",
                    Quantile(stats.answered, 0.99));
  }
  return line;
}

void PrintTable(const LoadDriver& driver, absl::Duration measured, std::ostream& out) {
  using Align = Table::Column::Align;
  std::vector<Table::Column> columns = {{"class"}};
  for (const char* title : {"answered/s", "in time/s", "tokens/s", "p50", "p95", "p99", "p99.9",
                            "max", "refused", "p99", "failed", "wrong", "lost"}) {
    columns.push_back({title, Align::kRight});
  }
  Table table(columns);
  for (size_t i = 0; i < driver.classes().size(); ++i) {
    const ClassStats& stats = driver.stats(i);
    table.AddRow({driver.classes()[i].name, PerSecond(stats.answered.count(), measured),
                  PerSecond(stats.in_deadline, measured), PerSecond(stats.tokens, measured),
                  Quantile(stats.answered, 0.5), Quantile(stats.answered, 0.95),
                  Quantile(stats.answered, 0.99), Quantile(stats.answered, 0.999),
                  Quantile(stats.answered, 1), HumanCount(stats.refused.count()),
                  Quantile(stats.refused, 0.99), HumanCount(stats.failed.count()),
                  absl::StrCat(stats.wrong.load()),
                  absl::StrCat(stats.lost.load() + stats.sent.load() - stats.ended.load())});
  }
  table.Print(out, 0);
}

std::string ToJson(const LoadDriver& driver, const LoadDriver::Options& options,
                   const MemorySeries& memory) {
  nlohmann::json classes = nlohmann::json::array();
  for (size_t i = 0; i < driver.classes().size(); ++i) {
    nlohmann::json json = ToJson(driver.classes()[i]);
    json.update(ToJson(driver.stats(i), options.duration));
    classes.push_back(std::move(json));
  }
  nlohmann::json json{{"seconds", absl::ToDoubleSeconds(options.duration)},
                      {"warmup_seconds", absl::ToDoubleSeconds(options.warmup)},
                      {"connections", options.connections},
                      {"threads", options.threads},
                      {"seed", options.seed},
                      {"classes", classes}};
  if (!memory.bytes().empty()) json["server_memory_bytes"] = memory.bytes();
  return json.dump(1);
}

int64_t Mistakes(const LoadDriver& driver) {
  int64_t mistakes = 0;
  for (size_t i = 0; i < driver.classes().size(); ++i) {
    const ClassStats& stats = driver.stats(i);
    mistakes += stats.wrong + stats.lost + stats.duplicated + (stats.sent - stats.ended);
  }
  return mistakes;
}

}  // namespace longwave::bench
