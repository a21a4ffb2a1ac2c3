#include "server/rpc/cache_slot.h"

namespace longwave {

CacheSlot::CacheSlot(const ServiceContext& service, const ServedModel& model, const RunItem& item)
    : cache_(service.cache), metrics_(service.metrics), model_metrics_(model.metrics) {
  if (cache_ != nullptr) key_ = MakeResultKey(model.name, model.version, item);
}

std::shared_ptr<const RunResult> CacheSlot::Find() {
  if (cache_ == nullptr) return nullptr;
  std::shared_ptr<const RunResult> result = cache_->Find(key_);
  model_metrics_->OnCacheLookup(/*hit=*/result != nullptr);
  return result;
}

void CacheSlot::Keep(const RunResult& result) {
  if (cache_ == nullptr || !result.status.ok()) return;
  metrics_->OnCacheGrowth(cache_->Insert(key_, result));
}

}  // namespace longwave
