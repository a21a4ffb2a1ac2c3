#include "client/cli/humanize.h"

#include <array>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace longwave::client {
namespace {

// `value` in three digits: 1.23, 12.3, 123, and no zeros after the point.
std::string ThreeDigits(double value) {
  const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  std::string text = absl::StrFormat("%.*f", decimals, value);
  if (decimals > 0) {
    text.erase(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text;
}

// Scaled by powers of 1000 and followed by the unit of that power.
template <size_t N>
std::string Scaled(int64_t value, const std::array<const char*, N>& units) {
  auto scaled = static_cast<double>(value);
  size_t power = 0;
  // 999.5 would be shown as 1000.
  while (power + 1 < N && scaled >= 999.5) {
    scaled /= 1000;
    ++power;
  }
  return absl::StrCat(ThreeDigits(scaled), units[power]);
}

}  // namespace

std::string HumanBytes(int64_t bytes) {
  return Scaled(bytes, std::array{" B", " kB", " MB", " GB", " TB", " PB"});
}

std::string HumanCount(int64_t count) { return Scaled(count, std::array{"", "k", "M", "G", "T"}); }

std::string HumanDuration(absl::Duration duration) {
  const double seconds = absl::ToDoubleSeconds(duration);
  if (seconds >= 119.5) {
    const auto whole = static_cast<int64_t>(std::llround(seconds));
    return absl::StrCat(whole / 60, " min ", whole % 60, " s");
  }
  if (seconds >= 0.9995) return absl::StrCat(ThreeDigits(seconds), " s");
  if (seconds >= 0.9995e-3) return absl::StrCat(ThreeDigits(seconds * 1e3), " ms");
  return absl::StrCat(ThreeDigits(seconds * 1e6), " us");
}

std::string Milliseconds(absl::Duration duration) {
  return ThreeDigits(absl::ToDoubleMilliseconds(duration));
}

std::string Percent(double fraction) {
  const std::string text = absl::StrFormat("%.1f%%", fraction * 100);
  if (text == "100.0%") return "100%";
  return text == "0.0%" ? "0%" : text;
}

}  // namespace longwave::client
