#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/encoding.h"
#include "client/cli/flags.h"
#include "client/cli/humanize.h"
#include "client/cli/json.h"
#include "client/cli/progress.h"
#include "client/cli/sender.h"
#include "client/cli/session.h"
#include "client/cli/table.h"

namespace longwave::client {
namespace {

struct ClassifyFlags {
  SendingFlags sending;
  std::string head;
  int top_k = 1;
  bool nearest = false;
  bool json = false;
};

Answers<ClassifyReply> ClassifyAll(Session& session, const ClassifyOptions& options,
                                   Console& console) {
  Progress progress(console.err_is_terminal ? &console.err : nullptr,
                    static_cast<int64_t>(session.sources.size()));
  return SendAll<ClassifyReply>(
      session.sources, session.options, console.in, progress,
      [&](const std::vector<Document>& documents, Client::ClassifyCallback done) {
        session.client->ClassifyAsync(documents, options, std::move(done));
      });
}

// The labels after the first: "perl 4.2%, ruby 1.1%".
std::string OtherLabels(const std::vector<LabelScore>& labels) {
  std::string text;
  for (size_t i = 1; i < labels.size(); ++i) {
    absl::StrAppend(&text, i > 1 ? ", " : "", labels[i].label, " ", Percent(labels[i].probability));
  }
  return text;
}

void PrintTable(const Session& session, const Answers<ClassifyReply>& answers,
                const ClassifyFlags& flags, const Neighbours& neighbours, Console& console) {
  using Align = Table::Column::Align;
  std::vector<Table::Column> columns = {{"INPUT", Align::kLeft, /*shrinks=*/true},
                                        {"SIZE", Align::kRight},
                                        {"TOKENS", Align::kRight},
                                        {"LABEL"},
                                        {"PROBABILITY", Align::kRight}};
  if (flags.top_k != 1) columns.push_back({"OTHERS"});
  columns.push_back({"MS", Align::kRight});
  if (flags.nearest) AddNeighbourColumns(columns);
  Table table(std::move(columns));
  int64_t bytes = 0;
  for (size_t i = 0; i < answers.outcomes.size(); ++i) {
    const Outcome<ClassifyResult>& outcome = answers.outcomes[i];
    const ClassifyResult& result = outcome.result;
    const bool ok = result.status.ok() && !result.labels.empty();
    bytes += outcome.bytes;
    std::vector<std::string> row = {
        session.sources[i].name, HumanBytes(outcome.bytes), ok ? absl::StrCat(result.tokens) : "-",
        ok ? result.labels[0].label : "(failed)", ok ? Percent(result.labels[0].probability) : "-"};
    if (flags.top_k != 1) row.push_back(OtherLabels(result.labels));
    row.push_back(ok ? Milliseconds(outcome.round_trip) : "-");
    if (flags.nearest) AddNeighbourCells(neighbours[i], session.sources, row);
    table.AddRow(row);
  }
  table.Print(console.out, console.out_columns);
  console.out << '\n'
              << Summary(answers.outcomes.size(), bytes, answers.usage, answers.elapsed,
                         session.model.id)
              << '\n';
}

Json OutcomeJson(const Outcome<ClassifyResult>& outcome, const std::string& name) {
  const ClassifyResult& result = outcome.result;
  Json json = {{"input", name}, {"bytes", outcome.bytes}};
  if (!result.status.ok()) {
    json["error"] = ToJson(result.status);
    return json;
  }
  json["tokens"] = result.tokens;
  json["tokens_dropped"] = result.tokens_dropped;
  json["milliseconds"] = absl::ToDoubleMilliseconds(outcome.round_trip);
  Json& labels = json["labels"] = Json::array();
  for (const LabelScore& score : result.labels) {
    labels.push_back(
        {{"label", score.label}, {"index", score.index}, {"probability", score.probability}});
  }
  return json;
}

void PrintJson(const Session& session, const Answers<ClassifyReply>& answers,
               const Neighbours& neighbours, Console& console) {
  Json results = Json::array();
  for (size_t i = 0; i < answers.outcomes.size(); ++i) {
    Json result = OutcomeJson(answers.outcomes[i], session.sources[i].name);
    if (!neighbours.empty()) AddNeighbour(neighbours[i], session.sources, result);
    results.push_back(std::move(result));
  }
  Print({{"model", ToJson(session.model.id)},
         {"usage", ToJson(answers.usage)},
         {"seconds", absl::ToDoubleSeconds(answers.elapsed)},
         {"results", std::move(results)}},
        console.out);
}

ExitCode RunClassify(const ClassifyFlags& flags, Console& console) {
  ExitCode exit_code = ExitCode::kOk;
  std::optional<Session> session = OpenSession(flags.sending, console, exit_code);
  if (!session.has_value()) return exit_code;
  // Sent twice.
  if (flags.nearest) {
    BufferStandardInput(session->sources, session->options.max_bytes(), console.in);
  }
  const Answers<ClassifyReply> answers = ClassifyAll(*session,
                                                     {.model = session->model.id,
                                                      .head = flags.head,
                                                      .top_k = flags.top_k,
                                                      .truncation = flags.sending.model.truncation},
                                                     console);
  absl::Status failure = answers.failure;
  Neighbours neighbours;
  if (flags.nearest && failure.ok()) {
    const Answers<EncodeReply> encoded = EncodeAll(
        *session, {.model = session->model.id, .truncation = flags.sending.model.truncation},
        console);
    failure = encoded.failure;
    neighbours = Nearest(encoded);
  }
  // Nothing was served: a table of dashes would only hide the reason.
  if (failure.ok() || answers.usage.inputs > 0) {
    neighbours.resize(flags.nearest ? answers.outcomes.size() : 0);
    if (flags.json) {
      PrintJson(*session, answers, neighbours, console);
    } else {
      PrintTable(*session, answers, flags, neighbours, console);
    }
  }
  console.out.flush();
  return ReportOutcomes(session->sources, Statuses(answers.outcomes), failure,
                        flags.sending.connection, console);
}

}  // namespace

void AddClassifyCommand(CLI::App& app, Console& console, ExitCode& exit_code) {
  CLI::App* command = app.add_subcommand("classify", "Print the most probable labels of inputs");
  auto flags = std::make_shared<ClassifyFlags>();
  flags->sending.inputs.AddTo(*command);
  flags->sending.model.AddTo(*command);
  command->add_option("--head", flags->head, "Classification head. Default: the model's only one")
      ->type_name("NAME")
      ->group("Model");
  command->add_option("--top_k", flags->top_k, "Labels per input; 0: all of them")
      ->check(CLI::NonNegativeNumber)
      ->type_name("N")
      ->capture_default_str()
      ->group("Output");
  command
      ->add_flag("--nearest", flags->nearest,
                 "Encode the inputs too and name each one's nearest other input, by cosine")
      ->group("Output");
  command->add_flag("--json", flags->json, "Print one JSON document instead of a table")
      ->group("Output");
  flags->sending.requests.AddTo(*command);
  flags->sending.connection.AddTo(*command);
  command->footer(
      absl::StrCat("MS is the time of the request that carried the input, as seen by the client; "
                   "--batch 1 gives\n"
                   "every input a request of its own.\n"
                   "\n"
                   "Examples:\n"
                   "  longwave classify README.md src/ --truncate\n"
                   "  longwave classify --top_k 3 --text 'int main() { return 0; }'\n"
                   "  curl -s https://example.org | longwave classify --json - | jq -r "
                   "'.results[0].labels[0].label'\n"
                   "\n",
                   kExitCodeHelp));
  command->callback([flags, &console, &exit_code] { exit_code = RunClassify(*flags, console); });
}

}  // namespace longwave::client
