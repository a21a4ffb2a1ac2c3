#ifndef LONGWAVE_SERVER_CACHE_RESULT_CACHE_H_
#define LONGWAVE_SERVER_CACHE_RESULT_CACHE_H_

#include <cstdint>
#include <list>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "model/runtime/model.h"
#include "server/cache/result_key.h"

namespace longwave {

// Results of inputs that were computed before, the least recently used given up first. Bounded in
// bytes. Thread-safe.
class ResultCache {
 public:
  // Bytes of an entry beside its numbers.
  static constexpr int64_t kEntryOverhead = 256;

  // `max_bytes` is positive. No entry takes more than an eighth of it, so that one long document
  // does not throw out everything else.
  explicit ResultCache(int64_t max_bytes) : max_bytes_(max_bytes) {}

  ResultCache(const ResultCache&) = delete;
  ResultCache& operator=(const ResultCache&) = delete;

  // The result, or nullptr; it becomes the most recently used. Immutable, and lives as long as it
  // is held, whatever is given up meanwhile.
  std::shared_ptr<const RunResult> Find(const ResultKey& key) ABSL_LOCKS_EXCLUDED(mutex_);

  // Keeps a copy of `result`, which must be OK. No effect when the key is there already, or the
  // result is too large. Returns by how many bytes the cache grew, which may be negative.
  int64_t Insert(const ResultKey& key, const RunResult& result) ABSL_LOCKS_EXCLUDED(mutex_);

  int64_t bytes() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Entry {
    ResultKey key;
    std::shared_ptr<const RunResult> result;
    int64_t bytes = 0;
  };
  using Entries = std::list<Entry>;

  const int64_t max_bytes_;
  mutable absl::Mutex mutex_;
  Entries entries_ ABSL_GUARDED_BY(mutex_);  // most recently used first
  absl::flat_hash_map<ResultKey, Entries::iterator> by_key_ ABSL_GUARDED_BY(mutex_);
  int64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace longwave

#endif  // LONGWAVE_SERVER_CACHE_RESULT_CACHE_H_
