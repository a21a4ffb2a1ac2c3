#include "server/repository/model_repository.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <tuple>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace longwave {
namespace {

namespace fs = std::filesystem;

constexpr char kLayout[] = "expected <repository>/<name>/<version>/config.json";

// Model names appear in metrics, logs and responses, so they are kept plain.
bool IsValidName(absl::string_view name) {
  return !name.empty() && name.size() <= 128 && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  });
}

// Names of the folders in `path`, sorted, without hidden ones.
absl::StatusOr<std::vector<std::string>> ListFolders(const fs::path& path) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator entry(path, error), end; !error && entry != end;
       entry.increment(error)) {
    std::error_code unreadable;
    if (!entry->is_directory(unreadable)) continue;
    std::string name = entry->path().filename().string();
    if (name.front() != '.') names.push_back(std::move(name));
  }
  if (error) {
    return absl::NotFoundError(
        absl::StrCat("cannot list ", path.string(), ": ", error.message(), "; ", kLayout));
  }
  std::sort(names.begin(), names.end());
  return names;
}

absl::Status ScanModel(const fs::path& path, const std::string& name,
                       std::vector<ModelFolder>& found) {
  if (!IsValidName(name)) {
    return absl::InvalidArgumentError(
        absl::StrCat("model name of ", path.string(),
                     ": expected 1 to 128 letters, digits, dots, underscores and hyphens"));
  }
  absl::StatusOr<std::vector<std::string>> versions = ListFolders(path);
  if (!versions.ok()) return versions.status();
  if (versions->empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("model ", path.string(), " has no version folder; ", kLayout));
  }
  for (const std::string& version : *versions) {
    int64_t number = 0;
    // The round trip refuses "01" and "+1": two folders could be the same version.
    if (!absl::SimpleAtoi(version, &number) || number < 1 || absl::StrCat(number) != version) {
      return absl::InvalidArgumentError(absl::StrCat("version folder ", (path / version).string(),
                                                     ": expected a positive number as its name"));
    }
    found.push_back({name, number, (path / version).string()});
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<ModelFolder>> ScanRepository(const std::string& repository) {
  absl::StatusOr<std::vector<std::string>> names = ListFolders(repository);
  if (!names.ok()) {
    return absl::NotFoundError(absl::StrCat("model repository: ", names.status().message()));
  }
  std::vector<ModelFolder> found;
  for (const std::string& name : *names) {
    absl::Status status = ScanModel(fs::path(repository) / name, name, found);
    if (!status.ok()) return status;
  }
  if (found.empty()) {
    return absl::NotFoundError(
        absl::StrCat("model repository ", repository, " holds no model; ", kLayout));
  }
  std::sort(found.begin(), found.end(), [](const ModelFolder& a, const ModelFolder& b) {
    return std::tie(a.name, a.version) < std::tie(b.name, b.version);
  });
  return found;
}

absl::StatusOr<std::vector<LoadedModel>> LoadRepository(const std::string& repository,
                                                        absl::Span<const std::string> devices,
                                                        const ModelLoader& loader) {
  absl::StatusOr<std::vector<ModelFolder>> folders = ScanRepository(repository);
  if (!folders.ok()) return folders.status();
  std::vector<LoadedModel> models;
  for (const ModelFolder& folder : *folders) {
    LoadedModel& loaded = models.emplace_back(LoadedModel{folder.name, folder.version, {}});
    for (const std::string& device : devices) {
      absl::StatusOr<std::unique_ptr<Model>> model = loader(folder.path, device);
      if (!model.ok()) {
        return absl::Status(model.status().code(),
                            absl::StrCat("model ", folder.name, " version ", folder.version, ": ",
                                         model.status().message()));
      }
      loaded.replicas.push_back(*std::move(model));
    }
  }
  return models;
}

}  // namespace longwave
