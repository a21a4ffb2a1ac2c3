#ifndef LONGWAVE_TESTS_SERVER_SCRATCH_FOLDER_H_
#define LONGWAVE_TESTS_SERVER_SCRATCH_FOLDER_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <string>

namespace longwave {

// An empty folder that is removed, with what is in it, at the end of its scope.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = ::testing::TempDir() + "longwave_XXXXXX";
    path_ = mkdtemp(pattern.data());
  }
  ~ScratchFolder() { std::filesystem::remove_all(path_); }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  const std::string& path() const { return path_; }

  // Makes a folder inside and returns its path.
  std::string MakeFolder(const std::string& name) const {
    const std::string folder = path_ + "/" + name;
    std::filesystem::create_directories(folder);
    return folder;
  }

 private:
  std::string path_;
};

}  // namespace longwave

#endif  // LONGWAVE_TESTS_SERVER_SCRATCH_FOLDER_H_
