#ifndef LONGWAVE_CLIENT_CLI_PROGRESS_H_
#define LONGWAVE_CLIENT_CLI_PROGRESS_H_

#include <cstdint>
#include <functional>
#include <ostream>

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace longwave::client {

// A line that is redrawn on a terminal: "[######      ] 12/40  1.2 MB  3.1 s". Thread-compatible.
class Progress {
 public:
  // Draws on `terminal`, which is not owned; nullptr draws nothing. `now` is the clock.
  Progress(std::ostream* terminal, int64_t total, std::function<absl::Time()> now = absl::Now);

  // Erases the line.
  ~Progress();

  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // One more input of that many bytes is done. Redraws at most ten times a second, and not in the
  // first 0.3 s.
  void Advance(int64_t bytes);

 private:
  void Draw(absl::Time now);

  std::ostream* const terminal_;
  const int64_t total_;
  const std::function<absl::Time()> now_;
  const absl::Time start_;
  absl::Time next_draw_;
  int64_t done_ = 0;
  int64_t bytes_ = 0;
  bool drawn_ = false;
};

}  // namespace longwave::client

#endif  // LONGWAVE_CLIENT_CLI_PROGRESS_H_
