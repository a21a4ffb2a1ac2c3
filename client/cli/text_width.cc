#include "client/cli/text_width.h"

#include <locale.h>
#include <wchar.h>

#include <vector>

namespace longwave::client {
namespace {

constexpr char kReplacement[] = "\xEF\xBF\xBD";  // U+FFFD
constexpr char kEllipsis[] = "\xE2\x80\xA6";     // U+2026

// Makes this thread's C library speak UTF-8 for as long as it lives.
class Utf8Locale {
 public:
  Utf8Locale() : previous_(uselocale(Shared())) {}
  ~Utf8Locale() { uselocale(previous_); }
  Utf8Locale(const Utf8Locale&) = delete;
  Utf8Locale& operator=(const Utf8Locale&) = delete;

 private:
  static locale_t Shared() {
    static const locale_t locale = newlocale(LC_CTYPE_MASK, "C.UTF-8", nullptr);
    return locale;
  }
  const locale_t previous_;
};

struct Character {
  absl::string_view bytes;
  int columns;  // -1: a control character or not UTF-8
};

// Cuts text into characters; a byte that is not UTF-8 stands alone.
std::vector<Character> Characters(absl::string_view text) {
  const Utf8Locale utf8;
  std::vector<Character> characters;
  while (!text.empty()) {
    wchar_t wide = 0;
    mbstate_t state = {};
    const size_t length = mbrtowc(&wide, text.data(), text.size(), &state);
    if (length == 0 || length > text.size()) {
      characters.push_back({text.substr(0, 1), -1});
      text.remove_prefix(1);
    } else {
      characters.push_back({text.substr(0, length), wcwidth(wide)});
      text.remove_prefix(length);
    }
  }
  return characters;
}

}  // namespace

std::string Printable(absl::string_view text) {
  std::string printable;
  for (const Character& character : Characters(text)) {
    if (character.columns < 0) {
      printable += kReplacement;
    } else {
      printable.append(character.bytes.data(), character.bytes.size());
    }
  }
  return printable;
}

int DisplayWidth(absl::string_view printable) {
  int width = 0;
  for (const Character& character : Characters(printable)) {
    width += character.columns < 0 ? 1 : character.columns;
  }
  return width;
}

std::string KeepEnd(absl::string_view printable, int width) {
  if (DisplayWidth(printable) <= width) return std::string(printable);
  const std::vector<Character> characters = Characters(printable);
  int kept = 1;  // the ellipsis
  size_t first = characters.size();
  while (first > 0 && kept + characters[first - 1].columns <= width) {
    kept += characters[--first].columns;
  }
  std::string end = kEllipsis;
  for (size_t i = first; i < characters.size(); ++i) {
    end.append(characters[i].bytes.data(), characters[i].bytes.size());
  }
  return end;
}

}  // namespace longwave::client
