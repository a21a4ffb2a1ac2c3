#include "server/rpc/model_catalog.h"

#include <set>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace longwave {
namespace {

// A name from a request, fit for a message: it may be long, and a message must be UTF-8.
std::string Quote(absl::string_view name) {
  constexpr size_t kShown = 128;
  return absl::StrCat("\"", absl::CHexEscape(name.substr(0, kShown)),
                      name.size() > kShown ? "..." : "", "\"");
}

}  // namespace

ModelCatalog::ModelCatalog(std::vector<ServedModel> models) : models_(std::move(models)) {}

std::string ModelCatalog::Names() const {
  std::set<absl::string_view> names;
  for (const ServedModel& model : models_) names.insert(model.name);
  return absl::StrJoin(names, ", ");
}

absl::StatusOr<const ServedModel*> ModelCatalog::Find(absl::string_view name,
                                                      int64_t version) const {
  if (version < 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model version: found ", version, ", expected a positive number, or 0 for the newest"));
  }
  if (name.empty()) {
    if (models_.empty()) return absl::NotFoundError("no model is loaded");
    if (models_.front().name != models_.back().name) {
      return absl::InvalidArgumentError(
          absl::StrCat("model name: required, because several models are loaded: ", Names()));
    }
    name = models_.front().name;
  }
  const ServedModel* newest = nullptr;
  std::vector<int64_t> versions;
  for (const ServedModel& model : models_) {
    if (model.name != name) continue;
    if (model.version == version) return &model;
    newest = &model;
    versions.push_back(model.version);
  }
  if (newest == nullptr) {
    return absl::NotFoundError(
        absl::StrCat("model ", Quote(name), " is not loaded; loaded: ", Names()));
  }
  if (version != 0) {
    return absl::NotFoundError(
        absl::StrCat("model ", Quote(name), " version ", version,
                     " is not loaded; loaded versions: ", absl::StrJoin(versions, ", ")));
  }
  return newest;
}

}  // namespace longwave
