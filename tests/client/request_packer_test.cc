#include "client/request_packer.h"

#include <gtest/gtest.h>

#include <random>
#include <string>
#include <vector>

#include "client/convert.h"

namespace longwave::client {
namespace {

Document RandomDocument(std::mt19937& random) {
  const size_t size = std::uniform_int_distribution<size_t>(0, 70000)(random);
  switch (random() % 3) {
    case 0:
      return Document::Text(std::string(size, static_cast<char>('a' + random() % 26)));
    case 1:
      return Document::Bytes(std::string(size, static_cast<char>(random())));
    default: {
      std::vector<uint32_t> ids(size / 8);
      for (uint32_t& id : ids) id = random();
      return Document::Ids(std::move(ids));
    }
  }
}

TEST(RequestPackerTest, RequestsKeepWithinTheLimits) {
  std::mt19937 random(20240611);
  const RequestPacker::Options options{.max_documents = 5, .max_message_bytes = 150000};
  RequestPacker packer(options);
  int packed = 0;
  int requests = 0;
  const auto check_request = [&] {
    const std::vector<Document> documents = packer.Take();
    ++requests;
    packed += static_cast<int>(documents.size());
    EXPECT_GE(documents.size(), 1);
    EXPECT_LE(static_cast<int64_t>(documents.size()), options.max_documents);
    const auto request = ToEncodeRequest(
        documents, {.model = {.name = std::string(200, 'm'), .version = 1}, .normalize = true});
    EXPECT_LE(static_cast<int64_t>(request.ByteSizeLong()), options.max_message_bytes);
  };
  for (int i = 0; i < 300; ++i) {
    Document document = RandomDocument(random);
    if (!packer.Fits(document)) check_request();
    ASSERT_TRUE(packer.Add(std::move(document)).ok());
  }
  check_request();
  EXPECT_EQ(packed, 300);
  EXPECT_GT(requests, 60);
  EXPECT_TRUE(packer.empty());
}

TEST(RequestPackerTest, ADocumentThatNoRequestHoldsIsRefused) {
  RequestPacker packer({.max_documents = 5, .max_message_bytes = 10000});
  const Document large = Document::Bytes(std::string(10000, 'x'));
  EXPECT_FALSE(packer.Fits(large));
  EXPECT_EQ(packer.Add(large).code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(packer.empty());
  EXPECT_TRUE(packer.Add(Document::Bytes("small")).ok());
  EXPECT_EQ(packer.Take().size(), 1);
}

TEST(RequestPackerTest, OptionsAreChecked) {
  EXPECT_TRUE(RequestPacker::Options().Validate().ok());
  EXPECT_FALSE((RequestPacker::Options{.max_documents = 0}).Validate().ok());
  EXPECT_FALSE((RequestPacker::Options{.max_message_bytes = 4096}).Validate().ok());
}

}  // namespace
}  // namespace longwave::client
