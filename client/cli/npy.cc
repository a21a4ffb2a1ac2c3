#include "client/cli/npy.h"

#include <bit>
#include <cassert>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"

namespace longwave::client {
namespace {

static_assert(std::endian::native == std::endian::little, "'<f4' is written in place");

constexpr size_t kAlignment = 64;
constexpr size_t kPrefix = 10;  // magic, version, length

absl::Status WriteFailed(const std::string& path) {
  return absl::ErrnoToStatus(errno != 0 ? errno : EIO, absl::StrCat("cannot write ", path));
}

}  // namespace

std::string NpyHeader(int64_t rows, int64_t cols) {
  std::string dictionary =
      absl::StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': (", rows, ", ", cols, "), }");
  const size_t unpadded = kPrefix + dictionary.size() + 1;
  dictionary.append((kAlignment - unpadded % kAlignment) % kAlignment, ' ');
  dictionary += '\n';

  std::string header("\x93NUMPY\x01\x00", 8);
  header += static_cast<char>(dictionary.size() & 0xff);
  header += static_cast<char>(dictionary.size() >> 8);
  return header + dictionary;
}

absl::Status WriteNpy(const std::string& path, absl::Span<const float> values, int64_t rows,
                      int64_t cols) {
  assert(static_cast<int64_t>(values.size()) == rows * cols);
  std::error_code error;
  // A pipe or a device is written as it is: it cannot be replaced.
  const bool in_place =
      std::filesystem::exists(path, error) && !std::filesystem::is_regular_file(path, error);
  const std::string target = in_place ? path : absl::StrCat(path, ".partial");
  errno = 0;
  std::ofstream file(target, std::ios::binary | std::ios::trunc);
  file << NpyHeader(rows, cols);
  file.write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(float)));
  file.close();
  if (!file) {
    absl::Status status = WriteFailed(path);
    if (!in_place) std::remove(target.c_str());
    return status;
  }
  if (in_place) return absl::OkStatus();
  std::filesystem::rename(target, path, error);
  if (error) {
    std::remove(target.c_str());
    return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot write ", path));
  }
  return absl::OkStatus();
}

}  // namespace longwave::client
