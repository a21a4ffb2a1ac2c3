#include "client/cli/run.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <algorithm>
#include <exception>
#include <memory>

#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "client/cli/help_format.h"
#include "client/cli/session.h"

namespace longwave::client {
namespace {

std::string UsageError(const CLI::App* app, const CLI::Error& error) {
  return absl::StrCat("longwave: ", error.what(), "\nTry: ", app->get_display_name(), " --help\n");
}

}  // namespace

ExitCode RunCli(const std::vector<std::string>& arguments, Console& console) {
  CLI::App app("Embeddings and labels of files and texts from a Longwave server.", "longwave");
  app.require_subcommand(1);
  app.fallthrough(false);
  app.set_version_flag("--version", "longwave " LONGWAVE_VERSION);
  app.failure_message(UsageError);
  app.formatter(std::make_shared<HelpFormat>());
  app.footer(
      absl::StrCat("Examples:\n"
                   "  longwave classify README.md src/         # what kind of file is each\n"
                   "  longwave encode docs/ --npy docs.npy     # one row per file\n"
                   "  longwave classify --server host:8470 --json - < mail.txt\n"
                   "  longwave plan file-type --n 65536        # how its attention is computed\n"
                   "  longwave health                          # exits 0 when the server serves\n"
                   "\n",
                   kExitCodeHelp, "\n\nEach command has more: longwave COMMAND --help"));

  ExitCode exit_code = ExitCode::kOk;
  AddEncodeCommand(app, console, exit_code);
  AddClassifyCommand(app, console, exit_code);
  AddModelsCommand(app, console, exit_code);
  AddPlanCommand(app, console, exit_code);
  AddHealthCommand(app, console, exit_code);

  try {
    // CLI11 takes them from the back.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
  } catch (const CLI::ParseError& error) {
    // Asking for help is such an "error" too, with code 0.
    return app.exit(error, console.out, console.err) == 0 ? ExitCode::kOk : ExitCode::kUsage;
  } catch (const std::exception& error) {
    PrintError(console.err, error.what());
    return ExitCode::kInternal;
  }
  console.out.flush();
  if (!console.out) {
    PrintError(console.err, "cannot write to standard output");
    return ExitCode::kInternal;
  }
  return exit_code;
}

}  // namespace longwave::client
