#ifndef LONGWAVE_SERVER_WARM_UP_H_
#define LONGWAVE_SERVER_WARM_UP_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "model/runtime/model.h"
#include "server/batching/clock.h"

namespace longwave {

// Equal sequences that are run together.
struct WarmUpShape {
  int64_t sequences = 1;
  int64_t tokens = 1;  // of each
};

// What a server warms up: one sequence of each power of two from 16 to `max_tokens` tokens, then a
// batch that is full of sequences of 512. `max_tokens` is at least 1.
std::vector<WarmUpShape> WarmUpShapes(int64_t max_tokens);

// Runs `shapes` through `model`, so that the first requests do not pay for what is set up on first
// use, and a model that cannot run is found before anybody is served.
//
// The first shape goes through everything that the model serves, whatever time it takes; the others
// only within `time_limit` from the start: a shape that by the time of the one before would not fit
// is left out with all after it, and one that is under way is stopped at the limit. So is one that
// needs more memory than the device has.
//
// Calls `progress` with a sentence after each shape. Returns the first error of the model. Blocks.
absl::Status WarmUp(Model& model, const std::vector<WarmUpShape>& shapes, absl::Duration time_limit,
                    const Clock& clock, const std::function<void(const std::string&)>& progress);

}  // namespace longwave

#endif  // LONGWAVE_SERVER_WARM_UP_H_
