#include "client/cli/inputs.h"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/cli/humanize.h"

namespace longwave::client {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLiteralNameBytes = 40;

bool IsHidden(const fs::path& path) { return path.filename().string().starts_with('.'); }

// Regular files below `folder`, sorted by path. What cannot be opened is left out.
std::vector<std::string> FilesBelow(const std::string& folder, bool hidden) {
  std::vector<std::string> files;
  std::error_code error;
  fs::recursive_directory_iterator it(folder, fs::directory_options::skip_permission_denied, error);
  for (; !error && it != fs::recursive_directory_iterator(); it.increment(error)) {
    const fs::file_status status = it->symlink_status(error);
    if (!hidden && IsHidden(it->path())) {
      if (fs::is_directory(status)) it.disable_recursion_pending();
    } else if (fs::is_regular_file(status)) {
      files.push_back(it->path().string());
    }
    error.clear();
  }
  std::sort(files.begin(), files.end());
  return files;
}

std::string LiteralName(const std::string& text) {
  if (text.size() <= kLiteralNameBytes) return absl::StrCat("\"", text, "\"");
  size_t cut = kLiteralNameBytes;
  // Not within a character.
  while (cut > 0 && (static_cast<unsigned char>(text[cut]) & 0xC0) == 0x80) --cut;
  return absl::StrCat("\"", text.substr(0, cut), "...\"");
}

absl::Status TooLarge(const std::string& size, int64_t max_bytes) {
  return absl::OutOfRangeError(absl::StrCat(
      size, " is more than the ", HumanBytes(max_bytes),
      " that a message holds: raise --max_message_bytes here and at the server, or split it"));
}

absl::StatusOr<std::string> ReadStream(std::istream& stream, int64_t max_bytes) {
  std::string content;
  char block[64 * 1024];
  while (stream.read(block, sizeof(block)), stream.gcount() > 0) {
    content.append(block, static_cast<size_t>(stream.gcount()));
    if (static_cast<int64_t>(content.size()) > max_bytes) return TooLarge("it", max_bytes);
  }
  if (stream.bad()) return absl::DataLossError("reading failed");
  return content;
}

absl::StatusOr<std::string> ReadFile(const std::string& path, int64_t max_bytes) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (error) return absl::ErrnoToStatus(error.value(), "cannot open it");
  if (fs::is_regular_file(status)) {
    const auto size = static_cast<int64_t>(fs::file_size(path, error));
    if (!error && size > max_bytes) return TooLarge(HumanBytes(size), max_bytes);
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::ErrnoToStatus(errno != 0 ? errno : EIO, "cannot open it");
  return ReadStream(file, max_bytes);
}

}  // namespace

absl::StatusOr<std::vector<InputSource>> ExpandInputs(const std::vector<std::string>& paths,
                                                      const std::vector<std::string>& texts,
                                                      bool hidden) {
  if (std::count(paths.begin(), paths.end(), "-") > 1) {
    return absl::InvalidArgumentError("'-' (standard input) can be read once, it is named twice");
  }
  std::vector<InputSource> sources;
  for (const std::string& path : paths) {
    std::error_code error;
    if (path == "-") {
      sources.push_back({.kind = InputSource::Kind::kStandardInput, .name = "(stdin)"});
    } else if (fs::is_directory(path, error)) {
      for (std::string& file : FilesBelow(path, hidden)) {
        sources.push_back({.name = std::move(file)});
      }
    } else {
      sources.push_back({.name = path});
    }
  }
  for (const std::string& text : texts) {
    sources.push_back(
        {.kind = InputSource::Kind::kLiteral, .name = LiteralName(text), .text = text});
  }
  return sources;
}

absl::StatusOr<std::string> ReadInput(const InputSource& source, int64_t max_bytes,
                                      std::istream& in) {
  switch (source.kind) {
    case InputSource::Kind::kBuffered:
      if (!source.failure.ok()) return source.failure;
      return source.text;
    case InputSource::Kind::kLiteral:
      if (static_cast<int64_t>(source.text.size()) > max_bytes) return TooLarge("it", max_bytes);
      return source.text;
    case InputSource::Kind::kStandardInput:
      return ReadStream(in, max_bytes);
    case InputSource::Kind::kFile:
      break;
  }
  return ReadFile(source.name, max_bytes);
}

void BufferStandardInput(std::vector<InputSource>& sources, int64_t max_bytes, std::istream& in) {
  for (InputSource& source : sources) {
    if (source.kind != InputSource::Kind::kStandardInput) continue;
    absl::StatusOr<std::string> content = ReadInput(source, max_bytes, in);
    source.kind = InputSource::Kind::kBuffered;
    source.failure = content.status();
    if (content.ok()) source.text = *std::move(content);
  }
}

absl::StatusOr<Document> ToDocument(std::string content, Document::Kind kind) {
  switch (kind) {
    case Document::Kind::kText:
      return Document::Text(std::move(content));
    case Document::Kind::kBytes:
      return Document::Bytes(std::move(content));
    case Document::Kind::kTokenIds:
      break;
  }
  std::vector<uint32_t> ids;
  for (absl::string_view word :
       absl::StrSplit(content, absl::ByAnyChar(", \t\r\n"), absl::SkipEmpty())) {
    uint32_t id = 0;
    if (!absl::SimpleAtoi(word, &id)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "'", word.substr(0, 20), "' is not a token id, expected numbers from 0 to 4294967295"));
    }
    ids.push_back(id);
  }
  return Document::Ids(std::move(ids));
}

}  // namespace longwave::client
