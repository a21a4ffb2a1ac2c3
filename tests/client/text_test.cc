// Text for terminals: widths, tables, numbers, progress.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "absl/time/time.h"
#include "client/cli/humanize.h"
#include "client/cli/progress.h"
#include "client/cli/table.h"
#include "client/cli/text_width.h"

namespace longwave::client {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;

TEST(TextWidthTest, CountsColumnsNotBytes) {
  EXPECT_EQ(DisplayWidth("abc"), 3);
  EXPECT_EQ(DisplayWidth("grün"), 4);
  EXPECT_EQ(DisplayWidth("日本"), 4);
  EXPECT_EQ(DisplayWidth("e\xCC\x81"), 1);  // e and a combining accent
  EXPECT_EQ(DisplayWidth(""), 0);
}

TEST(TextWidthTest, ReplacesWhatATerminalWouldObey) {
  EXPECT_EQ(Printable("naïve.txt"), "naïve.txt");
  EXPECT_EQ(Printable("a\x1b[2Jb\nc"), "a\uFFFD[2Jb\uFFFDc");
  EXPECT_EQ(Printable("cut \xC3"), "cut \uFFFD");
  EXPECT_EQ(Printable(std::string("\0x", 2)), "\uFFFDx");
}

TEST(TextWidthTest, KeepsTheEnd) {
  EXPECT_EQ(KeepEnd("src/file.cc", 11), "src/file.cc");
  EXPECT_EQ(KeepEnd("src/file.cc", 8), "…file.cc");
  EXPECT_EQ(KeepEnd("日本語", 5), "…本語");
  EXPECT_EQ(KeepEnd("日本語", 4), "…語");
}

TEST(TableTest, AlignsColumnsOfAnyScript) {
  Table table({{"INPUT"}, {"SIZE", Table::Column::Align::kRight}, {"LABEL"}});
  table.AddRow({"日本.txt", "5 B", "text"});
  table.AddRow({"a", "1.2 kB", ""});
  std::ostringstream out;
  table.Print(out, 0);
  EXPECT_EQ(out.str(),
            "INPUT       SIZE  LABEL\n"
            "日本.txt     5 B  text\n"
            "a         1.2 kB\n");
}

TEST(TableTest, ShrinksOnlyWhatMayShrink) {
  Table table({{"INPUT", Table::Column::Align::kLeft, /*shrinks=*/true}, {"LABEL"}});
  table.AddRow({"a/very/long/path/to/file.cc", "never shortened"});
  std::ostringstream out;
  table.Print(out, 35);
  EXPECT_EQ(out.str(),
            "INPUT               LABEL\n"
            "…g/path/to/file.cc  never shortened\n");
}

TEST(HumanizeTest, Bytes) {
  EXPECT_EQ(HumanBytes(0), "0 B");
  EXPECT_EQ(HumanBytes(999), "999 B");
  EXPECT_EQ(HumanBytes(1000), "1 kB");
  EXPECT_EQ(HumanBytes(1234), "1.23 kB");
  EXPECT_EQ(HumanBytes(999'499), "999 kB");
  EXPECT_EQ(HumanBytes(999'500), "1 MB");
  EXPECT_EQ(HumanBytes(67'108'864), "67.1 MB");
}

TEST(HumanizeTest, Counts) {
  EXPECT_EQ(HumanCount(999), "999");
  EXPECT_EQ(HumanCount(12'345), "12.3k");
  EXPECT_EQ(HumanCount(4'100'000), "4.1M");
}

TEST(HumanizeTest, Durations) {
  EXPECT_EQ(HumanDuration(absl::Microseconds(850)), "850 us");
  EXPECT_EQ(HumanDuration(absl::Microseconds(12'340)), "12.3 ms");
  EXPECT_EQ(HumanDuration(absl::Milliseconds(4560)), "4.56 s");
  EXPECT_EQ(HumanDuration(absl::Seconds(125)), "2 min 5 s");
  EXPECT_EQ(Milliseconds(absl::Microseconds(850)), "0.85");
  EXPECT_EQ(Milliseconds(absl::Seconds(4)), "4000");
}

TEST(HumanizeTest, Percentages) {
  EXPECT_EQ(Percent(0.9312), "93.1%");
  EXPECT_EQ(Percent(0.9999), "100%");
  EXPECT_EQ(Percent(0.0001), "0%");
}

TEST(ProgressTest, DrawsOnATerminalAfterAWhileAndErasesItself) {
  std::ostringstream terminal;
  absl::Time now = absl::UnixEpoch();
  {
    Progress progress(&terminal, 4, [&] { return now; });
    now += absl::Milliseconds(200);
    progress.Advance(1000);
    EXPECT_THAT(terminal.str(), IsEmpty());
    now += absl::Milliseconds(200);
    progress.Advance(1000);
    EXPECT_THAT(terminal.str(), HasSubstr("[###############               ] 2/4  2 kB  400 ms"));
    terminal.str("");
    now += absl::Milliseconds(50);
    progress.Advance(1000);
    EXPECT_THAT(terminal.str(), IsEmpty()) << "drawn again within a tenth of a second";
  }
  EXPECT_EQ(terminal.str(), "\r\x1b[K");
}

TEST(ProgressTest, DrawsNothingWithoutATerminal) {
  absl::Time now = absl::UnixEpoch();
  Progress progress(nullptr, 1, [&] { return now; });
  now += absl::Seconds(10);
  progress.Advance(1);
}

}  // namespace
}  // namespace longwave::client
