#ifndef LONGWAVE_CLIENT_CLI_HELP_FORMAT_H_
#define LONGWAVE_CLIENT_CLI_HELP_FORMAT_H_

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <string>

namespace longwave::client {

// CLI11's help, in 100 columns: an option is its name and the name of its value; the default and
// the environment variable follow its description; long descriptions are wrapped.
class HelpFormat : public CLI::Formatter {
 public:
  HelpFormat();

  std::string make_help(const CLI::App* app, std::string name,
                        CLI::AppFormatMode mode) const override;
  std::string make_option_opts(const CLI::Option* option) const override;
  std::string make_option_desc(const CLI::Option* option) const override;
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_HELP_FORMAT_H_
