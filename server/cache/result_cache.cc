#include "server/cache/result_cache.h"

#include <iterator>
#include <utility>

namespace longwave {

std::shared_ptr<const RunResult> ResultCache::Find(const ResultKey& key) {
  absl::MutexLock lock(&mutex_);
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return entries_.front().result;
}

int64_t ResultCache::Insert(const ResultKey& key, const RunResult& result) {
  const int64_t bytes = kEntryOverhead + static_cast<int64_t>(result.values.size() * sizeof(float));
  if (bytes > max_bytes_ / 8) return 0;
  auto copy = std::make_shared<const RunResult>(result);  // before the lock
  Entries given_up;                                       // freed after the lock is let go
  absl::MutexLock lock(&mutex_);
  if (by_key_.contains(key)) return 0;
  const int64_t before = bytes_;
  entries_.push_front({key, std::move(copy), bytes});
  by_key_[key] = entries_.begin();
  bytes_ += bytes;
  while (bytes_ > max_bytes_) {
    bytes_ -= entries_.back().bytes;
    by_key_.erase(entries_.back().key);
    given_up.splice(given_up.begin(), entries_, std::prev(entries_.end()));
  }
  return bytes_ - before;
}

int64_t ResultCache::bytes() const {
  absl::MutexLock lock(&mutex_);
  return bytes_;
}

}  // namespace longwave
