#ifndef LONGWAVE_MODEL_CHECKPOINT_FOLDER_FILE_H_
#define LONGWAVE_MODEL_CHECKPOINT_FOLDER_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace longwave {

// Files of a model folder. All functions open a file only by its bare name, and only a regular
// file: a path, a symbolic link, a pipe or a device is INVALID_ARGUMENT, so nothing outside of the
// folder is read and nothing blocks. The folder itself may be reached through symbolic links. A
// missing folder or file is NOT_FOUND. Every message starts with the file's path.

// INVALID_ARGUMENT unless `name` is a file name without a path.
absl::Status ValidateFileName(absl::string_view name);

// The path as it is shown in messages.
std::string FolderFilePath(absl::string_view folder, absl::string_view name);

// The whole content; INVALID_ARGUMENT when larger than `max_bytes`.
absl::StatusOr<std::string> ReadFolderFile(const std::string& folder, const std::string& name,
                                           int64_t max_bytes);

// A file mapped into memory, read-only, unmapped by the destructor. Thread-safe. Another process
// that truncates the file while it is mapped ends this one (SIGBUS), so callers copy what they need
// and let the mapping go.
class MappedFile {
 public:
  static absl::StatusOr<MappedFile> Open(const std::string& folder, const std::string& name);

  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  // Valid as long as this object; starts at a page boundary.
  absl::Span<const uint8_t> bytes() const { return {data_, size_}; }

  // For messages.
  const std::string& path() const { return path_; }

 private:
  MappedFile(std::string path, const uint8_t* data, size_t size)
      : path_(std::move(path)), data_(data), size_(size) {}

  std::string path_;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_MODEL_CHECKPOINT_FOLDER_FILE_H_
