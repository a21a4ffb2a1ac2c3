#ifndef LONGWAVE_SERVER_REPOSITORY_MODEL_REPOSITORY_H_
#define LONGWAVE_SERVER_REPOSITORY_MODEL_REPOSITORY_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "model/runtime/model.h"

namespace longwave {

// A model folder of a repository.
struct ModelFolder {
  std::string name;
  int64_t version = 0;
  std::string path;
};

// A model that is ready to run.
struct LoadedModel {
  std::string name;
  int64_t version = 0;
  std::vector<std::unique_ptr<Model>> replicas;  // one per device, in their order
};

// Loads one model folder onto a device, as Model::Load does.
using ModelLoader = std::function<absl::StatusOr<std::unique_ptr<Model>>(
    const std::string& folder, const std::string& device)>;

// Lists <repository>/<name>/<version>/, ordered by name, then version. Reads no model. Plain files
// and names that start with a dot are ignored. Errors name the path, what was found and what was
// expected:
//   NOT_FOUND         the repository is not there, is not a folder, or holds no model
//   INVALID_ARGUMENT  a model's name that is not 1 to 128 of [A-Za-z0-9._-], a model without a
//                     version, a version that is not a positive number
absl::StatusOr<std::vector<ModelFolder>> ScanRepository(const std::string& repository);

// Scans a repository and loads all of it, in the same order, onto each of `devices` (at least one).
// Blocks. The first error ends it; an error of the loader is prefixed with the model it concerns.
absl::StatusOr<std::vector<LoadedModel>> LoadRepository(const std::string& repository,
                                                        absl::Span<const std::string> devices,
                                                        const ModelLoader& loader);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_REPOSITORY_MODEL_REPOSITORY_H_
