// What the command line reads and writes: inputs and NumPy files.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "client/cli/inputs.h"
#include "client/cli/npy.h"
#include "tests/client/scratch_folder.h"

namespace longwave::client {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<std::string> Names(const std::vector<InputSource>& sources) {
  std::vector<std::string> names;
  for (const InputSource& source : sources) names.push_back(source.name);
  return names;
}

TEST(InputsTest, FoldersAreTheirRegularFilesSorted) {
  const ScratchFolder folder;
  folder.Write("b.txt", "b");
  folder.Write("a/z.txt", "z");
  folder.Write("a/é.txt", "e");
  folder.Write(".hidden", "h");
  folder.Write(".git/config", "c");
  std::filesystem::create_symlink(folder.Path("b.txt"), folder.Path("link"));
  ASSERT_EQ(mkfifo(folder.Path("pipe").c_str(), 0600), 0);

  const auto sources = ExpandInputs({folder.path()}, {}, /*hidden=*/false);
  ASSERT_TRUE(sources.ok()) << sources.status();
  EXPECT_THAT(Names(*sources),
              ElementsAre(folder.Path("a/z.txt"), folder.Path("a/é.txt"), folder.Path("b.txt")));
  const auto all = ExpandInputs({folder.path()}, {}, /*hidden=*/true);
  ASSERT_TRUE(all.ok()) << all.status();
  EXPECT_THAT(Names(*all),
              ElementsAre(folder.Path(".git/config"), folder.Path(".hidden"),
                          folder.Path("a/z.txt"), folder.Path("a/é.txt"), folder.Path("b.txt")));
}

TEST(InputsTest, KeepsTheOrderOfTheArguments) {
  const ScratchFolder folder;
  folder.Write("one", "1");
  const auto sources =
      ExpandInputs({"/no/such/file", "-", folder.Path("one")}, {"a text"}, /*hidden=*/false);
  ASSERT_TRUE(sources.ok()) << sources.status();
  EXPECT_THAT(Names(*sources),
              ElementsAre("/no/such/file", "(stdin)", folder.Path("one"), "\"a text\""));
  std::istringstream in("from stdin");
  EXPECT_EQ(ReadInput((*sources)[0], 100, in).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReadInput((*sources)[1], 100, in).value(), "from stdin");
  EXPECT_EQ(ReadInput((*sources)[2], 100, in).value(), "1");
  EXPECT_EQ(ReadInput((*sources)[3], 100, in).value(), "a text");
}

TEST(InputsTest, StandardInputIsReadOnce) {
  EXPECT_EQ(ExpandInputs({"-", "-"}, {}, false).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST(InputsTest, TheLimitHoldsForFilesStreamsAndTexts) {
  const ScratchFolder folder;
  folder.Write("large", std::string(200'000, 'x'));
  std::istringstream in(std::string(200'000, 'x'));
  for (const InputSource& source :
       {InputSource{.name = folder.Path("large")},
        InputSource{.kind = InputSource::Kind::kStandardInput, .name = "(stdin)"},
        InputSource{.kind = InputSource::Kind::kLiteral,
        .name = "text",
        .text = std::string(200'000, 'x')}}) {
    const auto content = ReadInput(source, 199'999, in);
    EXPECT_EQ(content.status().code(), absl::StatusCode::kOutOfRange) << source.name;
    EXPECT_THAT(std::string(content.status().message()), HasSubstr("--max_message_bytes"));
  }
  EXPECT_EQ(ReadInput({.name = folder.Path("large")}, 200'000, in)->size(), 200'000);
  // A device without an end is read to the limit, not for ever.
  EXPECT_EQ(ReadInput({.name = "/dev/zero"}, 100'000, in).status().code(),
            absl::StatusCode::kOutOfRange);
}

TEST(InputsTest, BufferedStandardInputIsReadRepeatedly) {
  std::istringstream in("from stdin");
  std::vector<InputSource> sources = ExpandInputs({"-"}, {}, false).value();
  BufferStandardInput(sources, 100, in);
  EXPECT_EQ(ReadInput(sources[0], 100, in).value(), "from stdin");
  EXPECT_EQ(ReadInput(sources[0], 100, in).value(), "from stdin");

  std::istringstream large("from stdin");
  sources = ExpandInputs({"-"}, {}, false).value();
  BufferStandardInput(sources, 4, large);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(ReadInput(sources[0], 4, large).status().code(), absl::StatusCode::kOutOfRange);
  }
}

TEST(InputsTest, LongTextsAreNamedByTheirBeginning) {
  const auto sources = ExpandInputs({}, {std::string(39, 'x') + "é and more"}, false);
  ASSERT_TRUE(sources.ok());
  EXPECT_EQ((*sources)[0].name, "\"" + std::string(39, 'x') + "...\"");
}

TEST(InputsTest, ReadsTokenIds) {
  const auto document = ToDocument("1, 2\n 4294967295\t7,", Document::Kind::kTokenIds);
  ASSERT_TRUE(document.ok()) << document.status();
  EXPECT_THAT(document->ids, ElementsAre(1, 2, 4294967295u, 7));
  for (const char* bad : {"1 x 2", "-1", "4294967296", "1.5"}) {
    EXPECT_EQ(ToDocument(bad, Document::Kind::kTokenIds).status().code(),
              absl::StatusCode::kInvalidArgument)
        << bad;
  }
}

TEST(NpyTest, WritesTheFormatByteByByte) {
  const ScratchFolder folder;
  const std::vector<float> values = {1.5f, -2.0f, 3.25f, 0.0f, 1e-30f, -1e30f};
  ASSERT_TRUE(WriteNpy(folder.Path("m.npy"), values, 2, 3).ok());
  const std::string file = folder.Read("m.npy");
  const std::string dictionary = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  std::string expected("\x93NUMPY\x01\x00\x76\x00", 10);
  expected += dictionary + std::string(0x76 - dictionary.size() - 1, ' ') + "\n";
  ASSERT_EQ(expected.size(), 128);
  ASSERT_EQ(file.size(), 128 + values.size() * 4);
  EXPECT_EQ(file.substr(0, 128), expected);
  EXPECT_EQ(std::memcmp(file.data() + 128, values.data(), values.size() * 4), 0);
}

TEST(NpyTest, HeadersOfAnyShapeAreAligned) {
  for (int64_t rows = 1; rows < int64_t{1} << 60; rows *= 7) {
    const std::string header = NpyHeader(rows, 3);
    EXPECT_EQ(header.size() % 64, 0) << rows;
    EXPECT_EQ(header.back(), '\n');
    EXPECT_EQ(static_cast<unsigned char>(header[8]) + 256 * header[9], header.size() - 10);
  }
}

TEST(NpyTest, AFileThatCannotBeWrittenIsNamed) {
  const absl::Status status = WriteNpy("/no/such/folder/m.npy", {}, 0, 3);
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(status.message()), HasSubstr("/no/such/folder/m.npy"));
}

}  // namespace
}  // namespace longwave::client
