#include "server/flag_help.h"

#include <map>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace longwave {
namespace {

constexpr size_t kColumns = 80;
constexpr char kIndent[] = "      ";

// Lines of at most kColumns, each indented; a longer word has a line of its own.
std::string Wrapped(absl::string_view text) {
  std::string lines, line;
  for (const absl::string_view word : absl::StrSplit(text, ' ')) {
    if (!line.empty() && sizeof(kIndent) - 1 + line.size() + 1 + word.size() > kColumns) {
      absl::StrAppend(&lines, kIndent, line, "\n");
      line.clear();
    }
    absl::StrAppend(&line, line.empty() ? "" : " ", word);
  }
  return absl::StrCat(lines, kIndent, line, "\n");
}

}  // namespace

bool AsksForHelp(int argc, char* const* argv) {
  for (int i = 1; i < argc; ++i) {
    const absl::string_view argument = argv[i];
    if (argument == "--") return false;
    if (argument == "--help" || argument == "-help") return true;
  }
  return false;
}

std::string FlagHelp(absl::string_view file) {
  std::map<std::string, std::string> flags;
  for (const auto& [name, flag] : absl::GetAllFlags()) {
    if (!absl::EndsWith(flag->Filename(), file)) continue;
    flags[std::string(name)] =
        absl::StrCat("  --", name, "=", flag->DefaultValue(), "\n", Wrapped(flag->Help()));
  }
  std::string text;
  for (const auto& [name, description] : flags) absl::StrAppend(&text, description);
  return text;
}

}  // namespace longwave
