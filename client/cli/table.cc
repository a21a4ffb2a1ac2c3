#include "client/cli/table.h"

#include <algorithm>
#include <cassert>

#include "client/cli/text_width.h"

namespace longwave::client {
namespace {

constexpr int kGap = 2;
constexpr int kMinShrunkWidth = 12;

}  // namespace

void Table::AddRow(const std::vector<std::string>& cells) {
  assert(cells.size() == columns_.size());
  std::vector<std::string>& row = rows_.emplace_back();
  row.reserve(cells.size());
  for (const std::string& cell : cells) row.push_back(Printable(cell));
}

std::vector<int> Table::Widths(int max_width) const {
  std::vector<int> widths;
  int total = 0;
  for (size_t c = 0; c < columns_.size(); ++c) {
    int width = DisplayWidth(columns_[c].title);
    for (const auto& row : rows_) width = std::max(width, DisplayWidth(row[c]));
    widths.push_back(width);
    total += width + (c > 0 ? kGap : 0);
  }
  // Takes one column at a time from the widest of those that may shrink.
  while (max_width > 0 && total > max_width) {
    int widest = -1;
    for (size_t c = 0; c < columns_.size(); ++c) {
      if (!columns_[c].shrinks || widths[c] <= kMinShrunkWidth) continue;
      if (widest < 0 || widths[c] > widths[widest]) widest = static_cast<int>(c);
    }
    if (widest < 0) break;
    --widths[widest];
    --total;
  }
  return widths;
}

void Table::Print(std::ostream& out, int max_width) const {
  const std::vector<int> widths = Widths(max_width);
  const auto print_line = [&](const auto& cell_of) {
    std::string line;
    for (size_t c = 0; c < columns_.size(); ++c) {
      const std::string cell = KeepEnd(cell_of(c), widths[c]);
      const std::string padding(widths[c] - DisplayWidth(cell), ' ');
      if (c > 0) line.append(kGap, ' ');
      line += columns_[c].align == Column::Align::kRight ? padding + cell : cell + padding;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out << line << '\n';
  };
  print_line([&](size_t c) { return columns_[c].title; });
  for (const auto& row : rows_) print_line([&](size_t c) { return row[c]; });
}

}  // namespace longwave::client
