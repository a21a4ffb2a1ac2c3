#include "model/checkpoint/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/support/files.h"
#include "tests/support/safetensors_writer.h"

namespace longwave {
namespace {

using ::testing::HasSubstr;
using testing::RawSafetensors;
using testing::TempFolder;
using testing::WriteFile;

constexpr char kFile[] = "model.safetensors";

absl::StatusOr<SafetensorsFile> OpenContent(const std::string& content) {
  const TempFolder folder;
  WriteFile(folder.path(), kFile, content);
  return SafetensorsFile::Open(folder.path(), kFile);  // the mapping outlives the file's name
}

// An entry of a header.
std::string Entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return absl::StrCat("\"", name, "\":{\"dtype\":\"", dtype, "\",\"shape\":", shape,
                      ",\"data_offsets\":", offsets, "}");
}

// Spaces behind the header put the data at a multiple of 8.
std::string Padded(std::string header) {
  header.resize((header.size() + 7) / 8 * 8, ' ');
  return header;
}

TEST(SafetensorsTest, ReadsWhatWasWritten) {
  std::mt19937 generator(7);
  std::normal_distribution<float> normal;
  testing::WeightMap weights;
  weights["a"] = {{2, 3}, std::vector<float>(6)};
  weights["b"] = {{5}, std::vector<float>(5)};
  weights["scalar"] = {{}, std::vector<float>(1)};
  weights["empty"] = {{0, 4}, {}};
  for (auto& [name, tensor] : weights) {
    for (float& value : tensor.values) value = normal(generator);
  }
  const absl::StatusOr<SafetensorsFile> file = OpenContent(testing::SerializeSafetensors(weights));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors().size(), weights.size());
  for (const auto& [name, tensor] : weights) {
    const absl::StatusOr<const TensorView*> view =
        file->Find(name, tensor.shape, {TensorType::kFloat32});
    ASSERT_TRUE(view.ok()) << view.status();
    EXPECT_EQ((*view)->shape, tensor.shape);
    ASSERT_EQ((*view)->bytes.size(), tensor.values.size() * sizeof(float));
    EXPECT_TRUE(tensor.values.empty() || std::memcmp((*view)->bytes.data(), tensor.values.data(),
                                                     (*view)->bytes.size()) == 0);
  }
}

TEST(SafetensorsTest, AcceptsMetadataAndTypesThatNoModelUses) {
  const absl::StatusOr<SafetensorsFile> file = OpenContent(RawSafetensors(
      Padded("{\"__metadata__\":{\"format\":\"pt\"}," + Entry("i", "I64", "[1]", "[0,8]") + "," +
             Entry("flag", "BOOL", "[3]", "[8,11]") + "}"),
      std::string(11, 'x')));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tensors().at("i").type, TensorType::kOther);
  EXPECT_EQ(file->tensors().at("flag").type_name, "BOOL");
}

TEST(SafetensorsTest, FindNamesWhatWasFoundAndExpected) {
  const absl::StatusOr<SafetensorsFile> file = OpenContent(
      RawSafetensors(Padded("{" + Entry("w", "F16", "[2,2]", "[0,8]") + "}"), std::string(8, 'x')));
  ASSERT_TRUE(file.ok()) << file.status();
  const auto message = [&](const char* name, std::vector<int64_t> shape) {
    const absl::StatusOr<const TensorView*> view = file->Find(name, shape, {TensorType::kFloat32});
    EXPECT_EQ(view.status().code(), absl::StatusCode::kInvalidArgument);
    return std::string(view.status().message());
  };
  EXPECT_THAT(message("w", {2, 2}), HasSubstr("tensor 'w': found dtype F16, expected F32"));
  EXPECT_THAT(message("v", {3}), HasSubstr("tensor 'v': found none, expected F32 [3]"));
  EXPECT_THAT(message("v", {3}), HasSubstr(kFile));
  const absl::Status shape = file->Find("w", {4}, {TensorType::kFloat16}).status();
  EXPECT_THAT(std::string(shape.message()), HasSubstr("found shape [2, 2], expected [4]"));
}

// A header that lies, over 16 bytes of data, and what the error says.
struct BadHeader {
  const char* what;
  std::string header;
  const char* message;
};

class BadHeaderTest : public ::testing::TestWithParam<BadHeader> {};

TEST_P(BadHeaderTest, IsRefused) {
  const absl::Status status =
      OpenContent(RawSafetensors(Padded(GetParam().header), std::string(16, 'x'))).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
  EXPECT_THAT(std::string(status.message()), HasSubstr(kFile));
}

std::string Two(const std::string& first, const std::string& second) {
  return "{" + first + "," + second + "}";
}

INSTANTIATE_TEST_SUITE_P(
    Safetensors, BadHeaderTest,
    ::testing::Values(
        BadHeader{"NotJson", "{\"w\":", "not valid JSON"}, BadHeader{"Empty", "", "not valid JSON"},
        BadHeader{"InvalidUtf8", "{\"\xff\":1}", "not valid JSON"},
        BadHeader{"Trailing", "{} {}", "not valid JSON"},
        BadHeader{"NotAnObject", "[1]", "found a JSON array, expected an object"},
        BadHeader{"Nested", std::string(100000, '['), "nested deeper than 16"},
        BadHeader{"DuplicateName",
                  Two(Entry("w", "F32", "[2]", "[0,8]"), Entry("w", "F32", "[2]", "[8,16]")),
                  "'w' occurs twice"},
        BadHeader{"DuplicateField",
                  R"({"w":{"dtype":"F32","dtype":"F16","shape":[4],"data_offsets":[0,16]}})",
                  "'dtype' occurs twice"},
        BadHeader{"EntryNotAnObject", R"({"w":3})", "tensor 'w': found number"},
        BadHeader{"MissingField", R"({"w":{"dtype":"F32","shape":[4]}})", "'data_offsets'"},
        BadHeader{"OtherField", R"({"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16],"x":1}})",
                  "found an object with other keys"},
        BadHeader{"UnknownType", "{" + Entry("w", "F31", "[4]", "[0,16]") + "}",
                  "dtype: found \"F31\""},
        BadHeader{"TypeNotAString", R"({"w":{"dtype":4,"shape":[4],"data_offsets":[0,16]}})",
                  "dtype: found 4"},
        BadHeader{"NegativeSize", "{" + Entry("w", "F32", "[-4]", "[0,16]") + "}", "shape:"},
        BadHeader{"FractionalSize", "{" + Entry("w", "F32", "[4.0]", "[0,16]") + "}", "shape:"},
        BadHeader{"ShapeNotAList", "{" + Entry("w", "F32", "4", "[0,16]") + "}", "shape:"},
        BadHeader{"ManyDimensions", "{" + Entry("w", "F32", "[1,1,1,1,1,1,1,1,4]", "[0,16]") + "}",
                  "shape:"},
        BadHeader{"HugeSize", "{" + Entry("w", "F32", "[18446744073709551615]", "[0,16]") + "}",
                  "shape:"},
        // 2^32 * 2^32 elements: 0 when computed modulo 2^64.
        BadHeader{"OverflowingProduct",
                  "{" + Entry("w", "F32", "[4294967296,4294967296]", "[0,0]") + "}",
                  "more than 2^63 bytes"},
        // 2^62 elements of 4 bytes: the product of the sizes fits, the bytes do not.
        BadHeader{"OverflowingBytes",
                  "{" + Entry("w", "F32", "[4611686018427387904]", "[0,0]") + "}",
                  "more than 2^63 bytes"},
        BadHeader{"LengthTooShort", "{" + Entry("w", "F32", "[3]", "[0,16]") + "}",
                  "tensor 'w': data_offsets: found 16 bytes, expected 12 for F32 [3]"},
        BadHeader{"LengthTooLong", "{" + Entry("w", "F32", "[5]", "[0,16]") + "}",
                  "found 16 bytes, expected 20 for F32 [5]"},
        BadHeader{"WrongType", "{" + Entry("w", "F16", "[4]", "[0,16]") + "}",
                  "found 16 bytes, expected 8 for F16 [4]"},
        BadHeader{"BeyondTheFile", "{" + Entry("w", "F32", "[5]", "[0,20]") + "}",
                  "found an end of 20, expected at most 16"},
        BadHeader{"FarBeyondTheFile",
                  "{" + Entry("w", "U8", "[16]", "[9223372036854775791,9223372036854775807]") + "}",
                  "expected at most 16"},
        BadHeader{"Backwards", "{" + Entry("w", "F32", "[4]", "[16,0]") + "}", "data_offsets:"},
        BadHeader{"NegativeOffset", "{" + Entry("w", "F32", "[4]", "[-16,0]") + "}",
                  "data_offsets:"},
        BadHeader{"ThreeOffsets", "{" + Entry("w", "F32", "[4]", "[0,16,16]") + "}",
                  "data_offsets:"},
        BadHeader{"Overlap",
                  Two(Entry("v", "F32", "[3]", "[0,12]"), Entry("w", "F32", "[2]", "[8,16]")),
                  "tensor 'w': data_offsets: found a begin of 8, expected 12: tensors overlap"},
        BadHeader{"SamePlace",
                  Two(Entry("v", "F32", "[4]", "[0,16]"), Entry("w", "F32", "[4]", "[0,16]")),
                  "tensors overlap"},
        BadHeader{"Gap", Two(Entry("v", "F32", "[1]", "[0,4]"), Entry("w", "F32", "[2]", "[8,16]")),
                  "found a begin of 8, expected 4: tensors leave a gap"},
        BadHeader{"DataLeft", "{" + Entry("w", "F32", "[3]", "[0,12]") + "}",
                  "found 16 bytes after the header, expected 12"},
        BadHeader{"Misaligned",
                  Two(Entry("v", "U8", "[2]", "[0,2]"), Entry("w", "F32", "[3]", "[2,14]")),
                  "expected a multiple of 4"},
        BadHeader{"Metadata", R"({"__metadata__":3})", "__metadata__"}),
    [](const ::testing::TestParamInfo<BadHeader>& info) { return info.param.what; });

TEST(SafetensorsTest, RefusesAHeaderLengthBeyondTheFile) {
  std::string content = RawSafetensors("{}", "");
  content[0] = 3;
  const absl::Status status = OpenContent(content).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("found a length of 3 bytes, but only 2"));
  content.assign(8, '\xff');
  EXPECT_THAT(std::string(OpenContent(content).status().message()),
              HasSubstr("18446744073709551615 bytes, expected at most 16777216"));
}

TEST(SafetensorsTest, RefusesEveryTruncation) {
  testing::WeightMap weights;
  weights["a"] = {{3}, {1, 2, 3}};
  const std::string whole = testing::SerializeSafetensors(weights);
  ASSERT_TRUE(OpenContent(whole).ok());
  for (size_t length = 0; length < whole.size(); ++length) {
    EXPECT_EQ(OpenContent(whole.substr(0, length)).status().code(),
              absl::StatusCode::kInvalidArgument)
        << length;
  }
}

TEST(SafetensorsTest, ViewsStayInsideTheFileWhateverByteIsWrong) {
  testing::WeightMap weights;
  weights["a"] = {{2, 2}, {1, 2, 3, 4}};
  weights["b"] = {{2}, {5, 6}};
  const std::string whole = testing::SerializeSafetensors(weights);
  std::mt19937 generator(11);
  int opened = 0;
  for (int round = 0; round < 400; ++round) {
    std::string content = whole;
    content[generator() % content.size()] = static_cast<char>(generator() % 256);
    const absl::StatusOr<SafetensorsFile> file = OpenContent(content);
    if (!file.ok()) continue;
    ++opened;
    size_t bytes = 0;
    for (const auto& [name, view] : file->tensors()) bytes += view.bytes.size();
    EXPECT_EQ(bytes, 24);
  }
  EXPECT_GT(opened, 0);    // a changed value or name is still a file
  EXPECT_LT(opened, 400);  // a changed structure is not
}

}  // namespace
}  // namespace longwave
