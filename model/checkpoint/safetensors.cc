#include "model/checkpoint/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/checkpoint/strict_json.h"

namespace longwave {
namespace {

using Json = nlohmann::json;

static_assert(std::endian::native == std::endian::little,
              "views show the file's bytes as they are");

constexpr int64_t kLengthBytes = 8;
constexpr size_t kMaxDimensions = 8;

struct TypeEntry {
  const char* name;
  int64_t bytes;
  TensorType type;
};

// All element types of the format: the sizes are needed to check tensors that no model uses, too.
constexpr TypeEntry kTypes[] = {
    {"F32", 4, TensorType::kFloat32},   {"F16", 2, TensorType::kFloat16},
    {"BF16", 2, TensorType::kBFloat16}, {"BOOL", 1, TensorType::kOther},
    {"U8", 1, TensorType::kOther},      {"I8", 1, TensorType::kOther},
    {"F8_E5M2", 1, TensorType::kOther}, {"F8_E4M3", 1, TensorType::kOther},
    {"I16", 2, TensorType::kOther},     {"U16", 2, TensorType::kOther},
    {"I32", 4, TensorType::kOther},     {"U32", 4, TensorType::kOther},
    {"F64", 8, TensorType::kOther},     {"I64", 8, TensorType::kOther},
    {"U64", 8, TensorType::kOther},
};

const TypeEntry* FindType(absl::string_view name) {
  const auto* found = std::find_if(std::begin(kTypes), std::end(kTypes),
                                   [&](const TypeEntry& entry) { return name == entry.name; });
  return found == std::end(kTypes) ? nullptr : found;
}

absl::string_view TypeName(TensorType type) {
  for (const TypeEntry& entry : kTypes) {
    if (entry.type == type) return entry.name;
  }
  return "other";
}

// Non-negative integers that fit into int64, or nothing.
std::optional<std::vector<int64_t>> ReadSizes(const Json& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<int64_t> sizes;
  for (const Json& element : value) {
    if (!element.is_number_unsigned()) return std::nullopt;
    const auto size = element.get<uint64_t>();
    if (size > static_cast<uint64_t>(INT64_MAX)) return std::nullopt;
    sizes.push_back(static_cast<int64_t>(size));
  }
  return sizes;
}

// Bytes of a tensor, or nothing when that overflows.
std::optional<int64_t> ByteLength(absl::Span<const int64_t> shape, int64_t element_bytes) {
  int64_t length = element_bytes;
  for (const int64_t size : shape) {
    if (__builtin_mul_overflow(length, size, &length)) return std::nullopt;
  }
  return length;
}

// An entry of the header whose own fields agree; `begin` and `end` are offsets into the data.
struct Entry {
  TensorView view;
  int64_t element_bytes;
  int64_t begin;
  int64_t end;
};

absl::StatusOr<Entry> ReadEntry(const Json& value) {
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets")) {
    return absl::InvalidArgumentError(
        absl::StrCat("found ", value.is_object() ? "an object with other keys" : value.type_name(),
                     ", expected an object of 'dtype', 'shape' and 'data_offsets'"));
  }
  Entry entry;
  const Json& dtype = value["dtype"];
  const TypeEntry* type =
      dtype.is_string() ? FindType(dtype.get_ref<const std::string&>()) : nullptr;
  if (type == nullptr) {
    return absl::InvalidArgumentError(
        absl::StrCat("dtype: found ", dtype.dump(-1, ' ', true, Json::error_handler_t::replace),
                     ", expected F32, F16, BF16 or another type of the format"));
  }
  entry.view.type = type->type;
  entry.view.type_name = type->name;
  entry.element_bytes = type->bytes;

  std::optional<std::vector<int64_t>> shape = ReadSizes(value["shape"]);
  if (!shape.has_value() || shape->size() > kMaxDimensions) {
    return absl::InvalidArgumentError(absl::StrCat("shape: expected a list of at most ",
                                                   kMaxDimensions, " non-negative integers"));
  }
  entry.view.shape = *std::move(shape);
  const std::optional<int64_t> length = ByteLength(entry.view.shape, entry.element_bytes);
  if (!length.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("shape: ", ShapeString(entry.view.shape), " has more than 2^63 bytes"));
  }

  const std::optional<std::vector<int64_t>> offsets = ReadSizes(value["data_offsets"]);
  if (!offsets.has_value() || offsets->size() != 2 || (*offsets)[0] > (*offsets)[1]) {
    return absl::InvalidArgumentError(
        "data_offsets: expected two non-negative integers, the begin and the end");
  }
  entry.begin = (*offsets)[0];
  entry.end = (*offsets)[1];
  if (entry.end - entry.begin != *length) {
    return absl::InvalidArgumentError(
        absl::StrCat("data_offsets: found ", entry.end - entry.begin, " bytes, expected ", *length,
                     " for ", entry.view.type_name, " ", ShapeString(entry.view.shape)));
  }
  return entry;
}

}  // namespace

std::string ShapeString(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

absl::StatusOr<SafetensorsFile> SafetensorsFile::Open(const std::string& folder,
                                                      const std::string& name) {
  absl::StatusOr<MappedFile> mapped = MappedFile::Open(folder, name);
  if (!mapped.ok()) return mapped.status();
  SafetensorsFile file(*std::move(mapped));
  if (absl::Status status = file.ReadHeader(); !status.ok()) return status;
  return file;
}

absl::Status SafetensorsFile::ReadHeader() {
  const absl::Span<const uint8_t> bytes = file_.bytes();
  const auto file_bytes = static_cast<int64_t>(bytes.size());
  const auto error = [&](absl::string_view message) {
    return absl::InvalidArgumentError(absl::StrCat(path(), ": ", message));
  };
  if (file_bytes < kLengthBytes) {
    return error(absl::StrCat("found ", file_bytes, " bytes, expected at least ", kLengthBytes));
  }
  uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), sizeof(header_bytes));
  if (header_bytes > static_cast<uint64_t>(kMaxHeaderBytes)) {
    return error(absl::StrCat("header: found a length of ", header_bytes,
                              " bytes, expected at most ", kMaxHeaderBytes));
  }
  const int64_t data_start = kLengthBytes + static_cast<int64_t>(header_bytes);
  if (data_start > file_bytes) {
    return error(absl::StrCat("header: found a length of ", header_bytes, " bytes, but only ",
                              file_bytes - kLengthBytes, " follow in the file"));
  }
  const absl::string_view text(reinterpret_cast<const char*>(bytes.data()) + kLengthBytes,
                               header_bytes);
  absl::StatusOr<Json> header = ParseStrictJson(text, absl::StrCat(path(), ": header"));
  if (!header.ok()) return header.status();

  std::vector<std::pair<std::string, Entry>> entries;
  for (const auto& [name, value] : header->items()) {
    if (name == "__metadata__") {
      if (value.is_object()) continue;
      return error("__metadata__: expected an object");
    }
    absl::StatusOr<Entry> entry = ReadEntry(value);
    if (!entry.ok()) return TensorError(name, entry.status().message());
    entries.emplace_back(name, *std::move(entry));
  }
  // By position, so that an overlap or a gap shows between neighbours; empty tensors come before
  // what starts at the same place.
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) {
    return std::pair(a.second.begin, a.second.end) < std::pair(b.second.begin, b.second.end);
  });
  const int64_t data_bytes = file_bytes - data_start;
  int64_t covered = 0;
  for (auto& [name, entry] : entries) {
    if (entry.end > data_bytes) {
      return TensorError(
          name, absl::StrCat("data_offsets: found an end of ", entry.end, ", expected at most ",
                             data_bytes, ", the bytes after the header"));
    }
    if (entry.begin != covered) {
      return TensorError(
          name, absl::StrCat("data_offsets: found a begin of ", entry.begin, ", expected ", covered,
                             ": tensors ", entry.begin < covered ? "overlap" : "leave a gap"));
    }
    if ((data_start + entry.begin) % entry.element_bytes != 0) {
      return TensorError(
          name, absl::StrCat("data_offsets: found byte ", data_start + entry.begin,
                             " of the file, expected a multiple of ", entry.element_bytes));
    }
    covered = entry.end;
    entry.view.bytes = bytes.subspan(data_start + entry.begin, entry.end - entry.begin);
    tensors_.emplace(name, std::move(entry.view));
  }
  if (covered != data_bytes) {
    return error(absl::StrCat("found ", data_bytes, " bytes after the header, expected ", covered,
                              ", the end of the last tensor"));
  }
  return absl::OkStatus();
}

absl::StatusOr<const TensorView*> SafetensorsFile::Find(absl::string_view name,
                                                        absl::Span<const int64_t> shape,
                                                        absl::Span<const TensorType> types) const {
  const auto found = tensors_.find(name);
  const auto name_of = [](std::string* out, TensorType type) {
    absl::StrAppend(out, TypeName(type));
  };
  if (found == tensors_.end()) {
    return TensorError(
        name, absl::StrCat("found none, expected ", absl::StrJoin(types, " or ", name_of), " ",
                           ShapeString(shape)));
  }
  const TensorView& view = found->second;
  if (std::find(types.begin(), types.end(), view.type) == types.end()) {
    return TensorError(name, absl::StrCat("found dtype ", view.type_name, ", expected ",
                                          absl::StrJoin(types, " or ", name_of)));
  }
  if (absl::MakeConstSpan(view.shape) != shape) {
    return TensorError(name, absl::StrCat("found shape ", ShapeString(view.shape), ", expected ",
                                          ShapeString(shape)));
  }
  return &view;
}

absl::Status SafetensorsFile::TensorError(absl::string_view name, absl::string_view message) const {
  return absl::InvalidArgumentError(absl::StrCat(path(), ": tensor '", name, "': ", message));
}

}  // namespace longwave
