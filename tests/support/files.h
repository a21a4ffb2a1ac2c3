#ifndef LONGWAVE_TESTS_SUPPORT_FILES_H_
#define LONGWAVE_TESTS_SUPPORT_FILES_H_

#include <string>

namespace longwave::testing {

// A new, empty folder, removed with everything in it by the destructor. Throws
// std::filesystem::filesystem_error.
class TempFolder {
 public:
  TempFolder();
  ~TempFolder();
  TempFolder(const TempFolder&) = delete;
  TempFolder& operator=(const TempFolder&) = delete;

  const std::string& path() const { return path_; }

  // Makes a folder inside, and those that it lies in; returns its path.
  std::string MakeFolder(const std::string& name) const;

 private:
  std::string path_;
};

// Replaces the content of `folder`/`name`; makes the folder where it is missing. Throws
// std::system_error or std::ios_base::failure.
void WriteFile(const std::string& folder, const std::string& name, const std::string& content);

// The content of `folder`/`name`. Throws std::ios_base::failure.
std::string ReadFile(const std::string& folder, const std::string& name);

}  // namespace longwave::testing

#endif  // LONGWAVE_TESTS_SUPPORT_FILES_H_
