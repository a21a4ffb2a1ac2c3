#include "client/cli/help_format.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace longwave::client {
namespace {

constexpr size_t kNameColumns = 30;
constexpr size_t kDescriptionColumns = 70;

std::string Wrap(const std::string& text, size_t columns) {
  std::string wrapped;
  size_t line = 0;
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    const bool breaks = line > 0 && line + 1 + word.size() > columns;
    if (breaks) line = 0;
    absl::StrAppend(&wrapped, breaks ? "\n" : line > 0 ? " " : "", word);
    line += (line > 0 ? 1 : 0) + word.size();
  }
  return wrapped;
}

}  // namespace

HelpFormat::HelpFormat() { column_width(kNameColumns); }

std::string HelpFormat::make_help(const CLI::App* app, std::string name,
                                  CLI::AppFormatMode mode) const {
  return absl::StrReplaceAll(CLI::Formatter::make_help(app, std::move(name), mode),
                             {{"\n\n\n", "\n\n"}});
}

std::string HelpFormat::make_option_opts(const CLI::Option* option) const {
  if (option->get_type_size() == 0) return "";
  // Behind a colon CLI11 adds what the validators check.
  const std::string type = option->get_type_name();
  return absl::StrCat(" ", type.substr(0, type.find(':')));
}

std::string HelpFormat::make_option_desc(const CLI::Option* option) const {
  std::string description = option->get_description();
  if (!option->get_default_str().empty()) {
    absl::StrAppend(&description, ". Default: ", option->get_default_str());
  }
  if (!option->get_envname().empty()) {
    absl::StrAppend(&description, ", or the variable ", option->get_envname());
  }
  return Wrap(description, kDescriptionColumns);
}

}  // namespace longwave::client
