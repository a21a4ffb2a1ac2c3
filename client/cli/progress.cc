#include "client/cli/progress.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/cli/humanize.h"

namespace longwave::client {
namespace {

constexpr int kBarColumns = 30;
constexpr absl::Duration kQuietAtFirst = absl::Milliseconds(300);
constexpr absl::Duration kBetweenDraws = absl::Milliseconds(100);
constexpr char kEraseLine[] = "\r\x1b[K";

}  // namespace

Progress::Progress(std::ostream* terminal, int64_t total, std::function<absl::Time()> now)
    : terminal_(terminal),
      total_(total),
      now_(std::move(now)),
      start_(now_()),
      next_draw_(start_ + kQuietAtFirst) {}

Progress::~Progress() {
  if (drawn_) *terminal_ << kEraseLine << std::flush;
}

void Progress::Advance(int64_t bytes) {
  ++done_;
  bytes_ += bytes;
  if (terminal_ == nullptr) return;
  const absl::Time now = now_();
  if (now < next_draw_) return;
  next_draw_ = now + kBetweenDraws;
  Draw(now);
}

void Progress::Draw(absl::Time now) {
  const int64_t filled =
      total_ > 0 ? std::min<int64_t>(done_ * kBarColumns / total_, kBarColumns) : kBarColumns;
  *terminal_ << kEraseLine << '[' << std::string(filled, '#')
             << std::string(kBarColumns - filled, ' ') << "] " << done_ << '/' << total_ << "  "
             << HumanBytes(bytes_) << "  " << HumanDuration(now - start_) << std::flush;
  drawn_ = true;
}

}  // namespace longwave::client
