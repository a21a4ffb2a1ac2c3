#ifndef LONGWAVE_SERVER_RPC_CACHE_SLOT_H_
#define LONGWAVE_SERVER_RPC_CACHE_SLOT_H_

#include <memory>

#include "model/runtime/model.h"
#include "server/cache/result_cache.h"
#include "server/rpc/model_catalog.h"
#include "server/rpc/service_context.h"

namespace longwave {

// The place of one input's result in the cache, if there is a cache. Thread-compatible.
class CacheSlot {
 public:
  // `item` with its tokens.
  CacheSlot(const ServiceContext& service, const ServedModel& model, const RunItem& item);

  // The result if it was kept, else nullptr. Counts a hit or a miss. At most once.
  std::shared_ptr<const RunResult> Find();

  // Keeps a copy of a result that had to be computed, if it is OK. At most once.
  void Keep(const RunResult& result);

 private:
  ResultCache* cache_;  // nullptr: no cache
  Metrics* metrics_;
  ModelMetrics* model_metrics_;
  ResultKey key_;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_RPC_CACHE_SLOT_H_
