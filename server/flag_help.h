#ifndef LONGWAVE_SERVER_FLAG_HELP_H_
#define LONGWAVE_SERVER_FLAG_HELP_H_

#include <string>

#include "absl/strings/string_view.h"

namespace longwave {

// Whether the command line asks for help: "--help" or "-help" before any "--".
bool AsksForHelp(int argc, char* const* argv);

// A description of every flag defined in the source file `file` (the end of its path), by name,
// each as
//     --name=default
//         What it means, in lines of 80 columns.
std::string FlagHelp(absl::string_view file);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_FLAG_HELP_H_
