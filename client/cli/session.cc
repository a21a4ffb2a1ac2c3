#include "client/cli/session.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/cli/humanize.h"
#include "client/cli/text_width.h"

namespace longwave::client {
namespace {

constexpr int kFailuresShown = 10;

Document::Kind KindFor(const ModelInfo& model) {
  if (model.tokenizer == "byte") return Document::Kind::kBytes;
  if (model.tokenizer == "ids") return Document::Kind::kTokenIds;
  return Document::Kind::kText;
}

std::string NameAndVersion(const ModelInfo& model) {
  return absl::StrCat(model.id.name, " version ", model.id.version);
}

std::string Listed(const std::vector<ModelInfo>& models) {
  return absl::StrJoin(models, ", ", [](std::string* out, const ModelInfo& model) {
    absl::StrAppend(out, NameAndVersion(model));
  });
}

}  // namespace

absl::StatusOr<ModelInfo> ChooseModel(const std::vector<ModelInfo>& loaded, const ModelId& wanted) {
  if (loaded.empty()) return absl::NotFoundError("the server has no model loaded");
  std::vector<ModelInfo> candidates;
  for (const ModelInfo& model : loaded) {
    if ((wanted.name.empty() || model.id.name == wanted.name) &&
        (wanted.version == 0 || model.id.version == wanted.version)) {
      candidates.push_back(model);
    }
  }
  if (candidates.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no model ", wanted.name.empty() ? "" : absl::StrCat("'", wanted.name, "' "),
                     wanted.version == 0 ? "" : absl::StrCat("of version ", wanted.version, " "),
                     "is loaded; --model can be one of: ", Listed(loaded)));
  }
  const auto has_other_name = [&](const ModelInfo& model) {
    return model.id.name != candidates.front().id.name;
  };
  if (std::any_of(candidates.begin(), candidates.end(), has_other_name)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the server has several models, choose one with --model: ", Listed(candidates)));
  }
  return *std::max_element(
      candidates.begin(), candidates.end(),
      [](const ModelInfo& a, const ModelInfo& b) { return a.id.version < b.id.version; });
}

void PrintError(std::ostream& err, absl::string_view message) {
  err << "longwave: " << Printable(message) << '\n';
}

ExitCode ReportFailure(const absl::Status& status, const ConnectionFlags& connection,
                       Console& console) {
  PrintError(console.err, Explain(status, connection.server));
  return ExitCodeOf(status);
}

std::optional<Session> OpenSession(const SendingFlags& flags, Console& console,
                                   ExitCode& exit_code) {
  const InputFlags& inputs = flags.inputs;
  const ConnectionFlags& connection = flags.connection;
  absl::StatusOr<std::vector<InputSource>> sources =
      ExpandInputs(inputs.paths, inputs.texts, inputs.hidden);
  if (sources.ok() && sources->empty()) {
    sources = absl::InvalidArgumentError(
        inputs.paths.empty()
            ? "no inputs: name files or folders, - for standard input, or --text TEXT"
            : "there is no regular file in what was named (hidden ones need --hidden)");
  }
  if (!sources.ok()) {
    PrintError(console.err, sources.status().message());
    exit_code = ExitCode::kUsage;
    return std::nullopt;
  }
  Client::Options options = connection.ToOptions();
  options.max_in_flight = flags.requests.in_flight;
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Create(options);
  if (!client.ok()) {
    PrintError(console.err, client.status().message());
    exit_code = ExitCode::kUsage;
    return std::nullopt;
  }
  // Not retried: tells at once that nobody is there, before any file is read.
  absl::StatusOr<std::vector<ModelInfo>> loaded = (*client)->ListModels();
  if (!loaded.ok()) {
    exit_code = ReportFailure(loaded.status(), connection, console);
    return std::nullopt;
  }
  absl::StatusOr<ModelInfo> chosen = ChooseModel(*loaded, flags.model.model);
  if (!chosen.ok()) {
    exit_code = ReportFailure(chosen.status(), connection, console);
    return std::nullopt;
  }
  const SendOptions send{
      .file_kind = inputs.kind.value_or(KindFor(*chosen)),
      .literal_kind = inputs.kind.value_or(Document::Kind::kText),
      .packer = {.max_documents = flags.requests.batch,
                 .max_message_bytes = connection.max_message_bytes},
  };
  return Session{*std::move(client), *std::move(chosen), *std::move(sources), send};
}

ExitCode ReportOutcomes(const std::vector<InputSource>& sources,
                        const std::vector<absl::Status>& statuses, const absl::Status& failure,
                        const ConnectionFlags& connection, Console& console) {
  int failed = 0;
  for (size_t i = 0; i < statuses.size(); ++i) {
    if (statuses[i].ok() || (!failure.ok() && statuses[i] == failure)) continue;
    if (++failed <= kFailuresShown) {
      PrintError(console.err, absl::StrCat(sources[i].name, ": ", statuses[i].message()));
    }
  }
  if (failed > kFailuresShown) {
    PrintError(console.err, absl::StrCat("and ", failed - kFailuresShown, " more inputs failed"));
  }
  if (!failure.ok()) return ReportFailure(failure, connection, console);
  return failed > 0 ? ExitCode::kSomeInputsFailed : ExitCode::kOk;
}

std::string Summary(size_t inputs, int64_t bytes, const Usage& usage, absl::Duration elapsed,
                    const ModelId& model) {
  return absl::StrCat(inputs, inputs == 1 ? " input, " : " inputs, ", HumanBytes(bytes), ", ",
                      HumanCount(usage.tokens), " tokens in ", HumanDuration(elapsed), " by ",
                      model.name, " version ", model.version);
}

}  // namespace longwave::client
