#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
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

struct ModelsFlags {
  ConnectionFlags connection{absl::Seconds(10)};
  ModelId model;
  bool json = false;
};

Json ModelJson(const ModelInfo& model) {
  Json heads = Json::array();
  for (const ClassificationHead& head : model.heads) {
    heads.push_back({{"name", head.name}, {"labels", head.labels}});
  }
  return {{"name", model.id.name},
          {"version", model.id.version},
          {"hidden_size", model.hidden_size},
          {"vocab_size", model.vocab_size},
          {"max_length", model.max_length},
          {"parameters", model.parameters},
          {"tokenizer", model.tokenizer},
          {"pooling", model.pooling},
          {"tasks", model.tasks},
          {"heads", std::move(heads)},
          {"device", model.device},
          {"feature_map", model.feature_map}};
}

std::string DescribeHeads(const std::vector<ClassificationHead>& heads) {
  if (heads.empty()) return "-";
  return absl::StrJoin(heads, ", ", [](std::string* out, const ClassificationHead& head) {
    absl::StrAppend(out, head.name, " (", head.labels.size(), " labels)");
  });
}

void PrintTable(const std::vector<ModelInfo>& models, Console& console) {
  using Align = Table::Column::Align;
  Table table({{"MODEL"},
               {"VERSION", Align::kRight},
               {"DEVICE"},
               {"PARAMETERS", Align::kRight},
               {"EMBEDDING", Align::kRight},
               {"MAX TOKENS", Align::kRight},
               {"TOKENIZER"},
               {"POOLING"},
               {"HEADS"}});
  for (const ModelInfo& model : models) {
    table.AddRow({model.id.name, absl::StrCat(model.id.version), model.device,
                  HumanCount(model.parameters), absl::StrCat(model.hidden_size),
                  absl::StrCat(model.max_length), model.tokenizer, model.pooling,
                  DescribeHeads(model.heads)});
  }
  table.Print(console.out, console.out_columns);
}

ExitCode RunModels(const ModelsFlags& flags, Console& console) {
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Create(flags.connection.ToOptions());
  if (!client.ok()) {
    PrintError(console.err, client.status().message());
    return ExitCode::kUsage;
  }
  std::vector<ModelInfo> models;
  if (flags.model.name.empty()) {
    absl::StatusOr<std::vector<ModelInfo>> loaded = (*client)->ListModels();
    if (!loaded.ok()) return ReportFailure(loaded.status(), flags.connection, console);
    models = *std::move(loaded);
  } else {
    absl::StatusOr<ModelInfo> model = (*client)->GetModel(flags.model);
    if (!model.ok()) return ReportFailure(model.status(), flags.connection, console);
    models.push_back(*std::move(model));
  }
  if (flags.json) {
    Json json = Json::array();
    for (const ModelInfo& model : models) json.push_back(ModelJson(model));
    Print({{"models", std::move(json)}}, console.out);
    return ExitCode::kOk;
  }
  PrintTable(models, console);
  if (flags.model.name.empty()) return ExitCode::kOk;
  for (const ClassificationHead& head : models.front().heads) {
    console.out << "\nLabels of head " << head.name << ": " << absl::StrJoin(head.labels, ", ")
                << '\n';
  }
  return ExitCode::kOk;
}

}  // namespace

void AddModelsCommand(CLI::App& app, Console& console, ExitCode& exit_code) {
  CLI::App* command = app.add_subcommand("models", "List the models that the server has loaded");
  auto flags = std::make_shared<ModelsFlags>();
  command
      ->add_option("model", flags->model.name,
                   "Show this model only, with the labels of its heads. Default: all models")
      ->type_name("NAME");
  command
      ->add_option("--model_version", flags->model.version,
                   "Version of the model. Default: the newest")
      ->check(CLI::PositiveNumber)
      ->type_name("N");
  command->add_flag("--json", flags->json, "Print one JSON document instead of a table")
      ->group("Output");
  flags->connection.AddTo(*command);
  command->footer(
      "Examples:\n"
      "  longwave models\n"
      "  longwave models file-type                # with its labels\n"
      "  longwave models --json");
  command->callback([flags, &console, &exit_code] { exit_code = RunModels(*flags, console); });
}

}  // namespace longwave::client
