#include "server/batching/lane_gate.h"

#include <algorithm>

namespace longwave {

LaneGate::LaneGate(const BatchingOptions& options, bool shares_device)
    : earned_(options.long_lane_share / (1 - options.long_lane_share)),
      most_owed_(options.max_batch_time),
      most_debt_(shares_device ? options.max_batch_time : absl::ZeroDuration()) {}

int LaneGate::Join() {
  absl::MutexLock lock(&mutex_);
  members_[++last_member_];
  return last_member_;
}

void LaneGate::Leave(int member, absl::Time now) {
  Update(member, State(), now);
  absl::MutexLock lock(&mutex_);
  members_.erase(member);
}

void LaneGate::Advance(absl::Time now) {
  if (now <= last_) return;
  if (shorts_ > 0 && going_ > 0) owed_ = std::max(owed_ - (now - last_), -most_debt_);
  last_ = now;
}

bool LaneGate::Update(int member, const State& state, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  Advance(now);
  const bool was_open = IsOpen();
  State& old = members_.at(member);
  shorts_ += state.short_work - old.short_work;
  longs_ += state.long_work - old.long_work;
  going_ += state.going - old.going;
  stopped_ += state.stopped - old.stopped;
  old = state;
  if (shorts_ == 0) owed_ = std::max(owed_, absl::ZeroDuration());
  if (longs_ == 0) owed_ = absl::ZeroDuration();
  return stopped_ > 0 && !was_open && IsOpen();
}

bool LaneGate::OnShortDone(absl::Duration compute, absl::Time now) {
  absl::MutexLock lock(&mutex_);
  Advance(now);
  if (longs_ == 0) return false;
  const bool was_open = IsOpen();
  const absl::Duration earned = compute * earned_;
  owed_ = std::min(owed_ + earned, std::max(earned, most_owed_));
  return stopped_ > 0 && !was_open && IsOpen();
}

bool LaneGate::MayGoOn(absl::Time now) {
  absl::MutexLock lock(&mutex_);
  Advance(now);
  return IsOpen();
}

bool LaneGate::IsLongOwed(absl::Time now) {
  absl::MutexLock lock(&mutex_);
  Advance(now);
  return owed_ > absl::ZeroDuration();
}

}  // namespace longwave
