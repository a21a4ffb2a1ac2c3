#ifndef LONGWAVE_CLIENT_CLI_HUMANIZE_H_
#define LONGWAVE_CLIENT_CLI_HUMANIZE_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"

// Numbers for people, in three significant digits or fewer.
namespace longwave::client {

// "0 B", "999 B", "1.2 kB", "64 MB": powers of 1000.
std::string HumanBytes(int64_t bytes);

// "999", "1.2k", "4.1M": powers of 1000.
std::string HumanCount(int64_t count);

// "850 us", "12.3 ms", "4.56 s", "2 min 5 s".
std::string HumanDuration(absl::Duration duration);

// Milliseconds without the unit, for a column: "0.85", "12.3", "4560".
std::string Milliseconds(absl::Duration duration);

// "93.1%"; "100%" and "0%" only when nothing else is nearer at one decimal.
std::string Percent(double fraction);

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_HUMANIZE_H_
