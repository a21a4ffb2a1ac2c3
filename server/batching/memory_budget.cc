#include "server/batching/memory_budget.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace longwave {

void MemoryBudget::Add(int64_t bytes) {
  reserved_ += bytes;
  on_change_(reserved_);
}

int64_t MemoryBudget::AvailableTo(const void* claimant) const {
  if (total_ == 0) return std::numeric_limits<int64_t>::max();
  for (const Claim& claim : claims_) {
    if (claim.claimant == claimant) break;
    if (claim.bypassed >= max_bypass_) return 0;
  }
  return std::max<int64_t>(0, total_ - reserved_);
}

bool MemoryBudget::Reserve(const void* claimant, int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  const auto own = std::find_if(claims_.begin(), claims_.end(),
                                [&](const Claim& claim) { return claim.claimant == claimant; });
  if (bytes > AvailableTo(claimant)) {
    if (own == claims_.end()) {
      claims_.push_back({claimant, bytes});
    } else {
      own->bytes = bytes;
    }
    return false;
  }
  Add(bytes);
  if (own != claims_.end()) claims_.erase(own);
  for (Claim& claim : claims_) ++claim.bypassed;
  return true;
}

bool MemoryBudget::Extend(const void* claimant, int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  if (bytes > AvailableTo(claimant)) return false;
  Add(bytes);
  return true;
}

bool MemoryBudget::Withdraw(const void* claimant) {
  absl::MutexLock lock(&mutex_);
  const size_t before = claims_.size();
  claims_.remove_if([&](const Claim& claim) { return claim.claimant == claimant; });
  return claims_.size() < before;
}

bool MemoryBudget::Release(int64_t bytes) {
  absl::MutexLock lock(&mutex_);
  Add(-bytes);
  return !claims_.empty();
}

int64_t MemoryBudget::reserved() const {
  absl::MutexLock lock(&mutex_);
  return reserved_;
}

}  // namespace longwave
