#include <algorithm>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/cli/commands.h"
#include "client/cli/encoding.h"
#include "client/cli/flags.h"
#include "client/cli/humanize.h"
#include "client/cli/json.h"
#include "client/cli/npy.h"
#include "client/cli/session.h"
#include "client/cli/table.h"

namespace longwave::client {
namespace {

constexpr int64_t kValuesShown = 4;

struct EncodeFlags {
  SendingFlags sending;
  Pooling pooling = Pooling::kModelDefault;
  bool normalize = false;
  Precision precision = Precision::kFloat32;
  bool nearest = false;
  bool json = false;
  std::string npy;
};

// Whether answers hold one row per token.
bool IsPerToken(const Session& session, const EncodeFlags& flags) {
  return flags.pooling == Pooling::kNone ||
         (flags.pooling == Pooling::kModelDefault && session.model.pooling == "none");
}

std::string FirstValues(const EncodeResult& result) {
  std::string text;
  const int64_t shown = std::min<int64_t>(kValuesShown, result.values.size());
  for (int64_t i = 0; i < shown; ++i) absl::StrAppendFormat(&text, "%7.3f ", result.values[i]);
  if (shown < static_cast<int64_t>(result.values.size())) text += "...";
  return text;
}

void PrintTable(const Session& session, const Answers<EncodeReply>& answers,
                const EncodeFlags& flags, const Neighbours& neighbours, Console& console) {
  using Align = Table::Column::Align;
  std::vector<Table::Column> columns = {{"INPUT", Align::kLeft, /*shrinks=*/true},
                                        {"SIZE", Align::kRight},
                                        {"TOKENS", Align::kRight},
                                        {"SHAPE", Align::kRight},
                                        {"MS", Align::kRight}};
  if (flags.nearest) {
    AddNeighbourColumns(columns);
  } else {
    columns.push_back({"EMBEDDING"});
  }
  Table table(std::move(columns));
  int64_t bytes = 0;
  for (size_t i = 0; i < answers.outcomes.size(); ++i) {
    const Outcome<EncodeResult>& outcome = answers.outcomes[i];
    const EncodeResult& result = outcome.result;
    const bool ok = result.status.ok();
    bytes += outcome.bytes;
    std::vector<std::string> row = {session.sources[i].name, HumanBytes(outcome.bytes),
                                    ok ? absl::StrCat(result.tokens) : "-",
                                    ok ? absl::StrCat(result.rows, "x", result.cols) : "-",
                                    ok ? Milliseconds(outcome.round_trip) : "-"};
    if (flags.nearest) {
      AddNeighbourCells(neighbours[i], session.sources, row);
    } else {
      row.push_back(ok ? FirstValues(result) : "(failed)");
    }
    table.AddRow(row);
  }
  table.Print(console.out, console.out_columns);
  console.out << '\n'
              << Summary(answers.outcomes.size(), bytes, answers.usage, answers.elapsed,
                         session.model.id)
              << '\n';
}

Json EmbeddingJson(const EncodeResult& result, bool per_token) {
  if (!per_token) return result.values;
  Json rows = Json::array();
  for (int64_t row = 0; row < result.rows; ++row) {
    const auto begin = result.values.begin() + row * result.cols;
    rows.push_back(std::vector<float>(begin, begin + result.cols));
  }
  return rows;
}

void PrintJson(const Session& session, const Answers<EncodeReply>& answers, bool per_token,
               const Neighbours& neighbours, Console& console) {
  Json results = Json::array();
  for (size_t i = 0; i < answers.outcomes.size(); ++i) {
    const Outcome<EncodeResult>& outcome = answers.outcomes[i];
    const EncodeResult& result = outcome.result;
    Json json = {{"input", session.sources[i].name}, {"bytes", outcome.bytes}};
    if (result.status.ok()) {
      json["tokens"] = result.tokens;
      json["tokens_dropped"] = result.tokens_dropped;
      json["milliseconds"] = absl::ToDoubleMilliseconds(outcome.round_trip);
      if (!neighbours.empty()) AddNeighbour(neighbours[i], session.sources, json);
      json["embedding"] = EmbeddingJson(result, per_token);
    } else {
      json["error"] = ToJson(result.status);
    }
    results.push_back(std::move(json));
  }
  Print({{"model", ToJson(session.model.id)},
         {"usage", ToJson(answers.usage)},
         {"seconds", absl::ToDoubleSeconds(answers.elapsed)},
         {"results", std::move(results)}},
        console.out);
}

// All rows below each other. A failed input is a row of NaN when every input has one row, and
// absent otherwise.
absl::Status SaveNpy(const EncodeFlags& flags, const Session& session,
                     const Answers<EncodeReply>& answers) {
  const bool per_token = IsPerToken(session, flags);
  const int64_t cols = session.model.hidden_size;
  std::vector<float> values;
  for (const Outcome<EncodeResult>& outcome : answers.outcomes) {
    const EncodeResult& result = outcome.result;
    if (!result.status.ok()) {
      if (!per_token) {
        values.resize(values.size() + cols, std::numeric_limits<float>::quiet_NaN());
      }
      continue;
    }
    if (result.cols != cols) {
      return absl::InternalError(
          absl::StrCat("an embedding has ", result.cols, " elements, the model promised ", cols));
    }
    values.insert(values.end(), result.values.begin(), result.values.end());
  }
  return WriteNpy(flags.npy, values, cols == 0 ? 0 : static_cast<int64_t>(values.size()) / cols,
                  cols);
}

ExitCode RunEncode(const EncodeFlags& flags, Console& console) {
  ExitCode exit_code = ExitCode::kOk;
  std::optional<Session> session = OpenSession(flags.sending, console, exit_code);
  if (!session.has_value()) return exit_code;
  const bool per_token = IsPerToken(*session, flags);
  if (per_token && flags.nearest) {
    PrintError(console.err, "--nearest compares whole inputs: use --pooling mean or first");
    return ExitCode::kUsage;
  }
  const EncodeOptions options{.model = session->model.id,
                              // Named, so that per-token results of any size are streamed.
                              .pooling = per_token ? Pooling::kNone : flags.pooling,
                              .normalize = flags.normalize,
                              .precision = flags.precision,
                              .truncation = flags.sending.model.truncation};
  const Answers<EncodeReply> answers = EncodeAll(*session, options, console);
  // Nothing was served: a table of dashes would only hide the reason.
  if (answers.failure.ok() || answers.usage.inputs > 0) {
    const Neighbours neighbours = flags.nearest ? Nearest(answers) : Neighbours();
    if (flags.json) {
      PrintJson(*session, answers, per_token, neighbours, console);
    } else {
      PrintTable(*session, answers, flags, neighbours, console);
    }
    console.out.flush();
    if (!flags.npy.empty()) {
      const absl::Status saved = SaveNpy(flags, *session, answers);
      if (!saved.ok()) {
        PrintError(console.err, saved.message());
        return ExitCode::kInternal;
      }
    }
  }
  return ReportOutcomes(session->sources, Statuses(answers.outcomes), answers.failure,
                        flags.sending.connection, console);
}

void AddEncodeOptions(CLI::App& command, EncodeFlags& flags) {
  const std::map<std::string, Pooling> poolings = {
      {"mean", Pooling::kMean}, {"first", Pooling::kFirstToken}, {"none", Pooling::kNone}};
  command
      .add_option_function<std::string>(
          "--pooling",
          [&flags, poolings](const std::string& name) { flags.pooling = poolings.at(name); },
          "One vector per input from all tokens (mean) or the first one (first), or one per token "
          "(none). Default: the model's own")
      ->check(CLI::IsMember(poolings))
      ->type_name("KIND")
      ->group("Model");
  command.add_flag("--normalize", flags.normalize, "Divide every vector by its Euclidean norm")
      ->group("Model");
  const std::map<std::string, Precision> precisions = {{"float32", Precision::kFloat32},
                                                       {"float16", Precision::kFloat16},
                                                       {"bfloat16", Precision::kBfloat16}};
  command
      .add_option_function<std::string>(
          "--precision",
          [&flags, precisions](const std::string& name) { flags.precision = precisions.at(name); },
          "Element type on the network: float32, float16 or bfloat16; output is float32 always")
      ->check(CLI::IsMember(precisions))
      ->type_name("TYPE")
      ->default_str("float32")
      ->group("Server");
}

}  // namespace

void AddEncodeCommand(CLI::App& app, Console& console, ExitCode& exit_code) {
  CLI::App* command = app.add_subcommand("encode", "Turn inputs into vectors");
  auto flags = std::make_shared<EncodeFlags>();
  flags->sending.inputs.AddTo(*command);
  flags->sending.model.AddTo(*command);
  AddEncodeOptions(*command, *flags);
  command
      ->add_flag("--nearest", flags->nearest,
                 "Name each input's nearest other input, by the cosine of their vectors")
      ->group("Output");
  command
      ->add_option("--npy", flags->npy,
                   "Write the vectors to this NumPy file too: float32 [inputs, width]. A failed "
                   "input's row is NaN. With --pooling none: the rows of all inputs below each "
                   "other, failed ones left out")
      ->type_name("FILE")
      ->group("Output");
  command->add_flag("--json", flags->json, "Print one JSON document, with the vectors")
      ->group("Output");
  flags->sending.requests.AddTo(*command);
  flags->sending.connection.AddTo(*command);
  command->footer(
      absl::StrCat("The table shows the first values of each vector; MS is the time of the request "
                   "that carried\n"
                   "the input, as seen by the client.\n"
                   "\n"
                   "Examples:\n"
                   "  longwave encode docs/ --normalize --npy docs.npy\n"
                   "  longwave encode *.cc --nearest\n"
                   "  longwave encode --json --text 'a text' | jq '.results[0].embedding'\n"
                   "  longwave encode --as ids --pooling none --npy tokens.npy ids.txt\n"
                   "\n",
                   kExitCodeHelp));
  command->callback([flags, &console, &exit_code] { exit_code = RunEncode(*flags, console); });
}

}  // namespace longwave::client
