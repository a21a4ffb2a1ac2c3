#include "model/checkpoint/folder_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

// An open file descriptor; closed by the destructor.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

struct OpenFile {
  Descriptor descriptor;
  int64_t size;
};

absl::StatusOr<OpenFile> OpenFolderFile(const std::string& folder, const std::string& name) {
  if (absl::Status status = ValidateFileName(name); !status.ok()) return status;
  const Descriptor directory(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory.get() < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(folder, ": cannot open the model folder"));
  }
  const std::string path = FolderFilePath(folder, name);
  // O_NONBLOCK: opening a pipe must not wait for a writer.
  Descriptor file(
      openat(directory.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (file.get() < 0) {
    if (errno == ELOOP) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": found a symbolic link, expected a regular file"));
    }
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot open"));
  }
  struct stat info {};
  if (fstat(file.get(), &info) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot read its size"));
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": expected a regular file"));
  }
  return OpenFile{std::move(file), static_cast<int64_t>(info.st_size)};
}

}  // namespace

absl::Status ValidateFileName(absl::string_view name) {
  const bool has_path = name.find('/') != name.npos || name.find('\0') != name.npos;
  if (name.empty() || name == "." || name == ".." || has_path) {
    return absl::InvalidArgumentError(
        absl::StrCat("found '", name, "', expected the name of a file in the model folder"));
  }
  return absl::OkStatus();
}

std::string FolderFilePath(absl::string_view folder, absl::string_view name) {
  return absl::StrCat(folder, "/", name);
}

absl::StatusOr<std::string> ReadFolderFile(const std::string& folder, const std::string& name,
                                           int64_t max_bytes) {
  absl::StatusOr<OpenFile> file = OpenFolderFile(folder, name);
  if (!file.ok()) return file.status();
  const std::string path = FolderFilePath(folder, name);
  if (file->size > max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": found ", file->size, " bytes, expected at most ", max_bytes));
  }
  std::string content(file->size, '\0');
  size_t done = 0;
  while (done < content.size()) {
    const ssize_t got = read(file->descriptor.get(), content.data() + done, content.size() - done);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot read"));
    if (got == 0) break;  // became shorter meanwhile
    done += got;
  }
  content.resize(done);
  return content;
}

absl::StatusOr<MappedFile> MappedFile::Open(const std::string& folder, const std::string& name) {
  absl::StatusOr<OpenFile> file = OpenFolderFile(folder, name);
  if (!file.ok()) return file.status();
  std::string path = FolderFilePath(folder, name);
  if (file->size == 0) return MappedFile(std::move(path), nullptr, 0);  // mmap refuses length 0
  void* data =
      mmap(nullptr, file->size, PROT_READ, MAP_PRIVATE, file->descriptor.get(), /*offset=*/0);
  if (data == MAP_FAILED) {
    return absl::ErrnoToStatus(errno, absl::StrCat(path, ": cannot map into memory"));
  }
  return MappedFile(std::move(path), static_cast<const uint8_t*>(data), file->size);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(const_cast<uint8_t*>(data_), size_);
}

}  // namespace longwave
