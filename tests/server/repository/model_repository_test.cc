#include "server/repository/model_repository.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/server/fake_model.h"
#include "tests/support/files.h"

namespace longwave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::NotNull;

std::vector<std::string> Describe(const std::vector<ModelFolder>& folders) {
  std::vector<std::string> names;
  for (const ModelFolder& folder : folders) {
    names.push_back(absl::StrCat(folder.name, "/", folder.version));
  }
  return names;
}

TEST(ScanRepositoryTest, ListsByNameThenByNumber) {
  testing::TempFolder repository;
  for (const char* name : {"b/10", "b/9", "a-model_v1.5/1", ".git/7", "b/.hidden"}) {
    repository.MakeFolder(name);
  }
  std::ofstream(repository.path() + "/README.md") << "about these models";
  const auto folders = ScanRepository(repository.path());
  ASSERT_TRUE(folders.ok()) << folders.status();
  EXPECT_THAT(Describe(*folders), ElementsAre("a-model_v1.5/1", "b/9", "b/10"));
  EXPECT_EQ(folders->front().path, repository.path() + "/a-model_v1.5/1");
}

void ExpectScanError(const std::string& path, absl::StatusCode code,
                     const std::vector<std::string>& parts) {
  const absl::Status status = ScanRepository(path).status();
  EXPECT_EQ(status.code(), code) << status;
  for (const std::string& part : parts) EXPECT_THAT(std::string(status.message()), HasSubstr(part));
}

TEST(ScanRepositoryTest, NamesAMissingRepository) {
  testing::TempFolder scratch;
  ExpectScanError(scratch.path() + "/none", absl::StatusCode::kNotFound,
                  {scratch.path() + "/none", "<name>/<version>"});
}

TEST(ScanRepositoryTest, NamesAnEmptyRepository) {
  testing::TempFolder repository;
  ExpectScanError(repository.path(), absl::StatusCode::kNotFound,
                  {repository.path(), "holds no model"});
}

TEST(ScanRepositoryTest, NamesAFileInPlaceOfTheRepository) {
  testing::TempFolder scratch;
  const std::string file = scratch.path() + "/file";
  std::ofstream(file) << "not a folder";
  ExpectScanError(file, absl::StatusCode::kNotFound, {file});
}

TEST(ScanRepositoryTest, NamesAModelWithoutVersion) {
  testing::TempFolder repository;
  repository.MakeFolder("m");
  ExpectScanError(repository.path(), absl::StatusCode::kInvalidArgument, {"/m", "no version"});
}

TEST(ScanRepositoryTest, NamesAVersionThatIsNotAPositiveNumber) {
  for (const char* version : {"v1", "0", "-1", "01", "1.5", "99999999999999999999"}) {
    testing::TempFolder repository;
    repository.MakeFolder(absl::StrCat("m/", version));
    ExpectScanError(repository.path(), absl::StatusCode::kInvalidArgument,
                    {absl::StrCat("m/", version), "positive number"});
  }
}

TEST(ScanRepositoryTest, NamesAModelNameThatCannotBeShown) {
  testing::TempFolder repository;
  repository.MakeFolder("my model/1");
  ExpectScanError(repository.path(), absl::StatusCode::kInvalidArgument, {"my model", "letters"});
}

TEST(LoadRepositoryTest, LoadsEveryFolder) {
  testing::TempFolder repository;
  repository.MakeFolder("m/1");
  repository.MakeFolder("m/2");
  std::vector<std::string> loaded;
  const auto models = LoadRepository(repository.path(), {"cuda:1", "cuda:0"},
                                     [&](const std::string& folder, const std::string& device) {
                                       loaded.push_back(absl::StrCat(folder, " on ", device));
                                       return std::make_unique<FakeModel>();
                                     });
  ASSERT_TRUE(models.ok()) << models.status();
  const std::string m = repository.path() + "/m/";
  EXPECT_THAT(loaded, ElementsAre(m + "1 on cuda:1", m + "1 on cuda:0", m + "2 on cuda:1",
                                  m + "2 on cuda:0"));
  ASSERT_EQ(models->size(), 2u);
  EXPECT_EQ(models->back().version, 2);
  EXPECT_THAT(models->back().replicas, ElementsAre(NotNull(), NotNull()));
}

TEST(LoadRepositoryTest, SaysWhichModelDoesNotLoad) {
  testing::TempFolder repository;
  repository.MakeFolder("m/1");
  const absl::Status status =
      LoadRepository(
          repository.path(), {"cpu"},
          [](const std::string&, const std::string&) -> absl::StatusOr<std::unique_ptr<Model>> {
            return absl::InvalidArgumentError("config.json: hidden_size is missing");
          })
          .status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "model m version 1: config.json: hidden_size is missing");
}

}  // namespace
}  // namespace longwave
