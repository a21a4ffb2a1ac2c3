#ifndef LONGWAVE_CLIENT_CLI_TABLE_H_
#define LONGWAVE_CLIENT_CLI_TABLE_H_

#include <ostream>
#include <string>
#include <vector>

namespace longwave::client {

// Rows under a line of titles, aligned in columns of text. Thread-compatible.
class Table {
 public:
  struct Column {
    enum class Align { kLeft, kRight };

    std::string title;
    Align align = Align::kLeft;
    bool shrinks = false;  // may lose the front of its cells when the table is too wide
  };

  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // As many cells as there are columns. Cells are made printable.
  void AddRow(const std::vector<std::string>& cells);

  // Writes the table. No line ends in blanks. Shrinking columns are cut, evenly and to no less than
  // 12 columns, until the table fits `max_width`; 0 is any width.
  void Print(std::ostream& out, int max_width) const;

 private:
  std::vector<int> Widths(int max_width) const;

  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_TABLE_H_
