#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/flags.h"
#include "client/cli/humanize.h"
#include "client/cli/json.h"
#include "client/cli/session.h"
#include "client/cli/table.h"
#include "client/client.h"

namespace longwave::client {
namespace {

constexpr int64_t kUsualLengths[] = {512, 4096, 65536};

struct PlanFlags {
  ConnectionFlags connection{absl::Seconds(60)};
  ModelId model;
  std::vector<int64_t> lengths;  // empty: kUsualLengths that the model takes
  bool json = false;
};

// "0-3, 5": ascending numbers with runs drawn together.
std::string Ranges(const std::vector<int>& numbers) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin < numbers.size();) {
    size_t end = begin + 1;
    while (end < numbers.size() && numbers[end] == numbers[end - 1] + 1) ++end;
    parts.push_back(end - begin == 1 ? absl::StrCat(numbers[begin])
                                     : absl::StrCat(numbers[begin], "-", numbers[end - 1]));
    begin = end;
  }
  return absl::StrJoin(parts, ", ");
}

Json PlanJson(const AttentionPlan& plan) {
  return {{"layers", plan.layers},
          {"heads", plan.heads},
          {"lengths", plan.lengths},
          {"algorithm", plan.algorithm},
          {"error_bound", plan.error_bound},
          {"predicted_ms", plan.predicted_ms},
          {"reason", plan.reason}};
}

void PrintTable(const std::vector<AttentionPlan>& plans, Console& console) {
  using Align = Table::Column::Align;
  Table table({{"TOKENS", Align::kRight},
               {"LAYERS"},
               {"HEADS"},
               {"ALGORITHM"},
               {"ERROR BOUND", Align::kRight},
               {"PREDICTED", Align::kRight}});
  for (const AttentionPlan& plan : plans) {
    table.AddRow({absl::StrJoin(plan.lengths, ", "), Ranges(plan.layers), Ranges(plan.heads),
                  plan.algorithm, absl::StrFormat("%.1e", plan.error_bound),
                  HumanDuration(absl::Milliseconds(plan.predicted_ms))});
  }
  table.Print(console.out, console.out_columns);
  for (const AttentionPlan& plan : plans) {
    console.out << "\n"
                << absl::StrJoin(plan.lengths, ", ") << " tokens, layers " << Ranges(plan.layers)
                << ", heads " << Ranges(plan.heads) << ", " << plan.algorithm << ": " << plan.reason
                << '\n';
  }
}

ExitCode RunPlan(const PlanFlags& flags, Console& console) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Create(flags.connection.ToOptions());
  if (!client.ok()) {
    PrintError(console.err, client.status().message());
    return ExitCode::kUsage;
  }
  std::vector<int64_t> lengths = flags.lengths;
  if (lengths.empty()) {
    const absl::StatusOr<ModelInfo> model = (*client)->GetModel(flags.model);
    if (!model.ok()) return ReportFailure(model.status(), flags.connection, console);
    for (const int64_t length : kUsualLengths) {
      if (length <= model->max_length) lengths.push_back(length);
    }
    if (lengths.empty()) lengths.push_back(model->max_length);
  }
  // One request per length, so that each has its own reason.
  std::vector<AttentionPlan> plans;
  for (const int64_t length : lengths) {
    const absl::StatusOr<std::vector<AttentionPlan>> part =
        (*client)->PlanAttention(flags.model, {length});
    if (!part.ok()) return ReportFailure(part.status(), flags.connection, console);
    plans.insert(plans.end(), part->begin(), part->end());
  }
  if (flags.json) {
    Json json = Json::array();
    for (const AttentionPlan& plan : plans) json.push_back(PlanJson(plan));
    Print({{"plans", std::move(json)}}, console.out);
    return ExitCode::kOk;
  }
  PrintTable(plans, console);
  return ExitCode::kOk;
}

}  // namespace

void AddPlanCommand(CLI::App& app, Console& console, ExitCode& exit_code) {
  CLI::App* command =
      app.add_subcommand("plan", "Explain how a model's attention is computed at given lengths");
  auto flags = std::make_shared<PlanFlags>();
  command->add_option("model", flags->model.name, "Name of the model")
      ->required()
      ->type_name("NAME");
  command
      ->add_option("--model_version", flags->model.version,
                   "Version of the model. Default: the newest")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  command
      ->add_option(
          "--n", flags->lengths,
          "Lengths in tokens, one or more. Default: 512 4096 65536, as far as the model takes them")
      ->check(CLI::PositiveNumber)
      ->type_name("TOKENS");
  command->add_flag("--json", flags->json, "Print one JSON document instead of a table")
      ->group("Output");
  flags->connection.AddTo(*command);
  command->footer(
      "The table's times are predictions for the attention alone, summed over layers and heads; "
      "those\n"
      "in the reasons are for one head of one layer.\n"
      "\n"
      "Examples:\n"
      "  longwave plan file-type --n 65536\n"
      "  longwave plan file-type --n 512 8192 --json");
  command->callback([flags, &console, &exit_code] { exit_code = RunPlan(*flags, console); });
}

}  // namespace longwave::client
