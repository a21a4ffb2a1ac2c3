#ifndef LONGWAVE_TESTS_CLIENT_SCRATCH_FOLDER_H_
#define LONGWAVE_TESTS_CLIENT_SCRATCH_FOLDER_H_

#include <filesystem>
#include <string>

#include "tests/support/files.h"

namespace longwave::client {

// A temporary folder whose files are named by their paths inside it.
class ScratchFolder : public longwave::testing::TempFolder {
 public:
  std::string Path(const std::string& name) const { return path() + "/" + name; }

  // Writes a file, and the folders that it lies in; returns its path.
  std::string Write(const std::string& name, const std::string& content) const {
    const std::filesystem::path file = Path(name);
    longwave::testing::WriteFile(file.parent_path().string(), file.filename().string(), content);
    return file.string();
  }

  std::string Read(const std::string& name) const {
    return longwave::testing::ReadFile(path(), name);
  }
};

}  // namespace longwave::client

#endif  // LONGWAVE_TESTS_CLIENT_SCRATCH_FOLDER_H_
