#include "model/checkpoint/folder_file.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <utility>

#include "tests/support/files.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;
using testing::TempFolder;
using testing::WriteFile;

constexpr int64_t kPlenty = 1 << 20;

absl::Status ReadStatus(const std::string& folder, const std::string& name) {
  return ReadFolderFile(folder, name, kPlenty).status();
}

TEST(FolderFileTest, ReadsAndMapsTheWholeContent) {
  const TempFolder folder;
  const std::string content("a\0b\n", 4);
  WriteFile(folder.path(), "file", content);
  EXPECT_EQ(ReadFolderFile(folder.path(), "file", 4).value(), content);

  absl::StatusOr<MappedFile> mapped = MappedFile::Open(folder.path(), "file");
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  const MappedFile moved = *std::move(mapped);
  EXPECT_EQ(std::string(moved.bytes().begin(), moved.bytes().end()), content);
  EXPECT_EQ(moved.path(), folder.path() + "/file");
}

TEST(FolderFileTest, AnEmptyFileIsEmpty) {
  const TempFolder folder;
  WriteFile(folder.path(), "file", "");
  EXPECT_EQ(ReadFolderFile(folder.path(), "file", 0).value(), "");
  const absl::StatusOr<MappedFile> mapped = MappedFile::Open(folder.path(), "file");
  ASSERT_TRUE(mapped.ok()) << mapped.status();
  EXPECT_TRUE(mapped->bytes().empty());
}

TEST(FolderFileTest, SaysWhatIsMissing) {
  const TempFolder folder;
  const absl::Status no_file = ReadStatus(folder.path(), "nothing");
  EXPECT_EQ(no_file.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(no_file.message(), HasSubstr(folder.path() + "/nothing"));
  const absl::Status no_folder = ReadStatus(folder.path() + "/none", "file");
  EXPECT_EQ(no_folder.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(no_folder.message(), HasSubstr("model folder"));
}

TEST(FolderFileTest, RefusesMoreThanTheLimit) {
  const TempFolder folder;
  WriteFile(folder.path(), "file", "12345");
  const absl::Status status = ReadFolderFile(folder.path(), "file", 4).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("found 5 bytes, expected at most 4"));
}

TEST(FolderFileTest, RefusesEverythingThatLeavesTheFolder) {
  const TempFolder outside;
  WriteFile(outside.path(), "secret", "secret");
  const TempFolder folder;
  std::filesystem::create_symlink(outside.path() + "/secret", folder.path() + "/link");
  std::filesystem::create_directory(folder.path() + "/sub");
  WriteFile(folder.path() + "/sub", "file", "inside");
  for (const std::string& name :
       {outside.path() + "/secret", std::string("../secret"), std::string(".."), std::string("."),
        std::string(), std::string("sub/file"), std::string("a\0b", 3), std::string("link"),
        std::string("sub")}) {
    EXPECT_EQ(ReadStatus(folder.path(), name).code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_EQ(MappedFile::Open(folder.path(), name).status().code(),
              absl::StatusCode::kInvalidArgument)
        << name;
  }
  EXPECT_THAT(ReadStatus(folder.path(), "link").message(), HasSubstr("symbolic link"));
}

TEST(FolderFileTest, DoesNotWaitForAPipe) {
  const TempFolder folder;
  ASSERT_EQ(mkfifo((folder.path() + "/pipe").c_str(), 0600), 0);
  EXPECT_EQ(ReadStatus(folder.path(), "pipe").code(), absl::StatusCode::kInvalidArgument);
}

TEST(FolderFileTest, TheFolderItselfMayBeALink) {
  const TempFolder folder;
  WriteFile(folder.path() + "/real", "file", "x");
  std::filesystem::create_directory_symlink("real", folder.path() + "/link");
  EXPECT_EQ(ReadFolderFile(folder.path() + "/link", "file", kPlenty).value(), "x");
}

}  // namespace
}  // namespace longwave
