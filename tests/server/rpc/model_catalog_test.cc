#include "server/rpc/model_catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace longwave {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ServedModel Served(const std::string& name, int64_t version) {
  return {name, version, nullptr, nullptr, nullptr};
}

const ModelCatalog& OneName() {
  static const ModelCatalog catalog({Served("m", 1), Served("m", 3)});
  return catalog;
}

const ModelCatalog& TwoNames() {
  static const ModelCatalog catalog({Served("m", 1), Served("n", 1)});
  return catalog;
}

TEST(ModelCatalogTest, TheNewestVersionIsTheDefault) {
  EXPECT_EQ((*OneName().Find("m", 0))->version, 3);
  EXPECT_EQ((*OneName().Find("", 0))->version, 3);
  EXPECT_EQ((*OneName().Find("m", 1))->version, 1);
  EXPECT_EQ((*OneName().Find("", 1))->version, 1);
}

TEST(ModelCatalogTest, ANameIsNeededAmongSeveral) {
  const absl::Status status = TwoNames().Find("", 0).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("m, n"));
  EXPECT_EQ((*TwoNames().Find("n", 0))->name, "n");
}

TEST(ModelCatalogTest, UnknownNamesAndVersionsAreNotFound) {
  const absl::Status name = TwoNames().Find("other", 0).status();
  EXPECT_EQ(name.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(name.message()), HasSubstr("\"other\""));
  EXPECT_THAT(std::string(name.message()), HasSubstr("m, n"));
  const absl::Status version = OneName().Find("m", 2).status();
  EXPECT_EQ(version.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(version.message()), HasSubstr("1, 3"));
}

TEST(ModelCatalogTest, ANegativeVersionIsInvalid) {
  EXPECT_EQ(OneName().Find("m", -1).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ModelCatalogTest, AStrangeNameIsShownEscapedAndShortened) {
  const absl::Status status = OneName().Find(std::string(1000, 'x') + "\n", 0).status();
  EXPECT_LT(status.message().size(), 300u);
  EXPECT_THAT(std::string(OneName().Find("a\n\x01", 0).status().message()), Not(HasSubstr("\n")));
}

}  // namespace
}  // namespace longwave
