#include "tests/support/files.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>

namespace longwave::testing {

TempFolder::TempFolder() {
  path_ = (std::filesystem::temp_directory_path() / "longwave-test-XXXXXX").string();
  if (mkdtemp(path_.data()) == nullptr) {
    throw std::filesystem::filesystem_error("mkdtemp", path_,
                                            std::error_code(errno, std::generic_category()));
  }
}

TempFolder::~TempFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

std::string TempFolder::MakeFolder(const std::string& name) const {
  const std::string folder = path_ + "/" + name;
  std::filesystem::create_directories(folder);
  return folder;
}

void WriteFile(const std::string& folder, const std::string& name, const std::string& content) {
  std::filesystem::create_directories(folder);
  std::ofstream file;
  file.exceptions(std::ios::failbit | std::ios::badbit);
  file.open(folder + "/" + name, std::ios::binary | std::ios::trunc);
  file.write(content.data(), static_cast<std::streamsize>(content.size()));
  file.close();
}

std::string ReadFile(const std::string& folder, const std::string& name) {
  std::ifstream file;
  file.exceptions(std::ios::failbit | std::ios::badbit);
  file.open(folder + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace longwave::testing
