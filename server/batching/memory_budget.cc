#include "server/batching/memory_budget.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace longwave {

void MemoryBudget::Add(int64_t bytes, Lane lane) {
  reserved_ += bytes;
  if (lane == Lane::kLong) reserved_long_ += bytes;
  on_change_(reserved_);
}

bool MemoryBudget::Minds(Lane lane, const Claim& claim) const {
  return lane == Lane::kLong || claim.bytes <= total_ - reserved_long_;
}

int64_t MemoryBudget::AvailableTo(const void* claimant, Lane lane) const {
  if (total_ == 0) return std::numeric_limits<int64_t>::max();
  for (const Claim& claim : claims_) {
    if (claim.claimant == claimant) break;
    if (claim.bypassed >= max_bypass_ && Minds(lane, claim)) return 0;
  }
  return std::max<int64_t>(0, total_ - reserved_);
}

bool MemoryBudget::Reserve(const void* claimant, int64_t bytes, Lane lane) {
  absl::MutexLock lock(&mutex_);
  const auto own = std::find_if(claims_.begin(), claims_.end(),
                                [&](const Claim& claim) { return claim.claimant == claimant; });
  if (bytes > AvailableTo(claimant, lane)) {
    if (own == claims_.end()) {
      claims_.push_back({claimant, bytes});
    } else {
      own->bytes = bytes;
    }
    return false;
  }
  Add(bytes, lane);
  if (own != claims_.end()) claims_.erase(own);
  for (Claim& claim : claims_) {
    if (Minds(lane, claim)) ++claim.bypassed;
  }
  return true;
}

bool MemoryBudget::Extend(const void* claimant, int64_t bytes, Lane lane) {
  absl::MutexLock lock(&mutex_);
  if (bytes > AvailableTo(claimant, lane)) return false;
  Add(bytes, lane);
  return true;
}

bool MemoryBudget::Withdraw(const void* claimant) {
  absl::MutexLock lock(&mutex_);
  const size_t before = claims_.size();
  claims_.remove_if([&](const Claim& claim) { return claim.claimant == claimant; });
  return claims_.size() < before;
}

bool MemoryBudget::Release(int64_t bytes, Lane lane) {
  absl::MutexLock lock(&mutex_);
  Add(-bytes, lane);
  return !claims_.empty();
}

int64_t MemoryBudget::reserved() const {
  absl::MutexLock lock(&mutex_);
  return reserved_;
}

}  // namespace longwave
