#include "server/flag_help.h"

#include <map>

#include "absl/flags/commandlineflag.h"
#include "absl/flags/reflection.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace longwave {

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
    const std::string value = flag->DefaultValue();
    flags[std::string(name)] =
        absl::StrCat("  --", name, " (", flag->Help(),
                     ");\n      default: ", value.empty() ? "\"\"" : value, ";\n");
  }
  std::string text;
  for (const auto& [name, description] : flags) absl::StrAppend(&text, description);
  return text;
}

}  // namespace longwave
