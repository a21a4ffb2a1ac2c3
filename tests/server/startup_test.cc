// What main.cc is made of besides the server: flag types, the port file, the banner.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "server/banner.h"
#include "server/byte_size.h"
#include "server/port_file.h"
#include "tests/server/server_fixture.h"
#include "tests/support/files.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;

TEST(ByteSizeTest, ParsesUnits) {
  for (const auto& [text, bytes] :
       std::vector<std::pair<std::string, int64_t>>{{"0", 0},
                                                    {"1000", 1000},
                                                    {"512KiB", 512 << 10},
                                                    {"64MiB", 64 << 20},
                                                    {"3GiB", int64_t{3} << 30}}) {
    ByteSize size;
    std::string error;
    EXPECT_TRUE(AbslParseFlag(text, &size, &error)) << text << ": " << error;
    EXPECT_EQ(size.bytes, bytes);
    EXPECT_EQ(AbslUnparseFlag(size), text);
  }
}

TEST(ByteSizeTest, RefusesEverythingElse) {
  for (const char* text : {"", "-1", "1.5MiB", "64MB", "MiB", "9000000000GiB", "one"}) {
    ByteSize size;
    std::string error;
    EXPECT_FALSE(AbslParseFlag(text, &size, &error)) << text;
    EXPECT_THAT(error, HasSubstr("64MiB"));
  }
}

TEST(PortFileTest, WritesOneLineAndNothingElse) {
  testing::TempFolder scratch;
  const std::string path = scratch.path() + "/ports";
  ASSERT_TRUE(WritePortFile(path, 8470, 9470).ok());
  std::ifstream in(path);
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  EXPECT_EQ(text, "{\"grpc\": 8470, \"metrics\": 9470}\n");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(scratch.path()), {}), 1);
}

TEST(PortFileTest, SaysWhereItCannotWrite) {
  testing::TempFolder scratch;
  const std::string path = scratch.path() + "/absent/ports";
  const absl::Status status = WritePortFile(path, 1, 2);
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr(path));
}

TEST(PortFileTest, RemovesWhatIsThere) {
  testing::TempFolder scratch;
  const std::string path = scratch.path() + "/ports";
  ASSERT_TRUE(WritePortFile(path, 1, 2).ok());
  EXPECT_TRUE(RemovePortFile(path).ok());
  EXPECT_FALSE(std::filesystem::exists(path));
  EXPECT_TRUE(RemovePortFile(path).ok());
  const absl::Status status =
      RemovePortFile(std::filesystem::path(scratch.MakeFolder("full/x")).parent_path().string());
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_THAT(std::string(status.message()), HasSubstr("full"));
}

TEST_F(ServerTest, TheBannerNamesModelsAndBoundPorts) {
  options_.metrics_listen = "127.0.0.1:0";
  StartServer();
  const std::string banner = Banner(*server_, options_);
  EXPECT_THAT(banner, HasSubstr("fake"));
  EXPECT_THAT(banner, HasSubstr("classify kind (3 labels)"));
  EXPECT_THAT(banner, HasSubstr(absl::StrCat("127.0.0.1:", server_->grpc_port())));
  EXPECT_THAT(banner, HasSubstr(absl::StrCat("127.0.0.1:", server_->metrics_port(), "/metrics")));
}

}  // namespace
}  // namespace longwave
