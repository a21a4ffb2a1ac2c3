#ifndef LONGWAVE_SERVER_RPC_MODEL_CATALOG_H_
#define LONGWAVE_SERVER_RPC_MODEL_CATALOG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "model/runtime/model.h"
#include "server/batching/batcher.h"
#include "server/metrics/model_metrics.h"

namespace longwave {

// A model as the RPCs see it. Points to what the server owns, which lives as long as the server.
struct ServedModel {
  std::string name;
  int64_t version = 0;
  Model* model = nullptr;
  Batcher* batcher = nullptr;
  ModelMetrics* metrics = nullptr;

  // The model's, but for `max_length`: the longest sequence that the server accepts.
  ModelInfo info;
};

// The models that requests can name. Immutable, thread-safe.
class ModelCatalog {
 public:
  // `models` in order of name, then version.
  explicit ModelCatalog(std::vector<ServedModel> models);

  // The model that a request means: an empty name is the only name there is, version 0 the newest.
  // The result lives as long as this. INVALID_ARGUMENT for a negative version, or no name where
  // there are several; NOT_FOUND, listing what there is.
  absl::StatusOr<const ServedModel*> Find(absl::string_view name, int64_t version) const;

  absl::Span<const ServedModel> models() const { return models_; }

 private:
  std::string Names() const;

  const std::vector<ServedModel> models_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_MODEL_CATALOG_H_
